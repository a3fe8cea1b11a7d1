package manager

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/council"
)

// maxVersion bounds what is kept of the version that a gateway tells, in bytes.
const maxVersion = 64

// gateways are those with a link to this manager, in the order of their addresses.
func (m *Manager) gateways() []control.GatewayStatus {
	list := []control.GatewayStatus{}
	for k := range m.links {
		h := &k.s.Hello
		if !k.taken || k.gone || h.Role != control.RoleGateway {
			continue
		}
		list = append(list, control.GatewayStatus{
			Addr: k.s.Remote, HTTP: monitoringAddr(h.HTTP, k.s.Remote), Client: h.Client,
			Version: h.Version[:min(len(h.Version), maxVersion)], Connected: k.at,
		})
	}
	slices.SortFunc(list, func(a, b control.GatewayStatus) int {
		return cmp.Or(council.CompareAddr(a.HTTP, b.HTTP), b.Connected.Compare(a.Connected))
	})
	// A gateway that has connected again may be here twice, until its old link is given up.
	list = slices.CompactFunc(list, func(a, b control.GatewayStatus) bool { return a.HTTP != "" && a.HTTP == b.HTTP })
	slices.SortFunc(list, func(a, b control.GatewayStatus) int {
		return cmp.Or(council.CompareAddr(a.Addr, b.Addr), cmp.Compare(a.HTTP, b.HTTP))
	})
	return list
}

// monitoringAddr is where others reach the port that a gateway tells, whose link comes from
// remote; "" where it tells none that can be reached.
func monitoringAddr(told, remote string) string {
	at, err := netip.ParseAddrPort(told)
	if err != nil || at.Port() == 0 || !plainZone(at.Addr()) {
		return ""
	}
	from, err := netip.ParseAddrPort(remote)
	if at.Addr().Unmap().IsLoopback() && err == nil && !from.Addr().Unmap().IsLoopback() {
		return "" // of another machine: nobody reaches it there
	}
	if at.Addr().IsUnspecified() {
		if err != nil {
			return ""
		}
		at = netip.AddrPortFrom(from.Addr(), at.Port())
	}
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port()).String()
}

// plainZone: the address has no zone, or one that may be shown: netip takes any bytes for one.
func plainZone(a netip.Addr) bool {
	return strings.IndexFunc(a.Zone(), func(r rune) bool {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		return !letter && !strings.ContainsRune("-_.", r)
	}) < 0
}
