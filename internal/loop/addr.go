package loop

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// parseAddr reads "ip:port". For ":port" the address is not valid: all
// interfaces. Names are refused: to resolve one would block the loop.
func parseAddr(addr string) (netip.AddrPort, error) {
	host := addr
	if strings.HasPrefix(addr, ":") {
		host = "0.0.0.0" + addr
	}
	ap, err := netip.ParseAddrPort(host)
	if err != nil {
		return ap, fmt.Errorf("loop: address %q is not ip:port: %w", addr, err)
	}
	if host != addr {
		return netip.AddrPortFrom(netip.Addr{}, ap.Port()), nil
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), nil
}

// textAddr is a net.Addr for errors.
type textAddr string

func (a textAddr) Network() string { return "tcp" }
func (a textAddr) String() string  { return string(a) }

func dialError(addr string, err error) error {
	return &net.OpError{Op: "dial", Net: "tcp", Addr: textAddr(addr), Err: err}
}

func listenError(addr string, err error) error {
	return &net.OpError{Op: "listen", Net: "tcp", Addr: textAddr(addr), Err: err}
}
