package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// resolveTimeout bounds the look-up of one name.
const resolveTimeout = 5 * time.Second

// ErrUnknownHost is a name that no resolver knows, as against a malformed address.
var ErrUnknownHost = errors.New("unknown host")

// ResolveAddr turns "host", "host:port", "1.2.3.4" or "[::1]:port" into a
// numeric "ip:port". Names resolve to IPv4 first. An address is also how others
// reach the process, so it must name a host: "0.0.0.0" and ":19800" are refused.
func ResolveAddr(s string, defaultPort int) (string, error) {
	host, port, err := splitAddr(s, defaultPort)
	if err != nil {
		return "", err
	}
	if host == "" {
		return "", fmt.Errorf("address %q lacks a host: write host:%d", s, port)
	}
	ip, err := resolveHost(host)
	if err != nil {
		return "", err
	}
	if ip.IsUnspecified() {
		return "", fmt.Errorf("address %q means every interface, but others must be told one: give this host's name or IP", s)
	}
	return netip.AddrPortFrom(ip, uint16(port)).String(), nil
}

// ResolveListen turns "[host:]port" or "host" into what net.Listen takes.
// Without a host (or with "*") it is ":port": all interfaces.
func ResolveListen(s string, defaultPort int) (string, error) {
	if port, err := strconv.Atoi(s); err == nil {
		if err := checkPort(s, port); err != nil {
			return "", err
		}
		return ":" + strconv.Itoa(port), nil
	}
	host, port, err := splitAddr(s, defaultPort)
	if err != nil {
		return "", err
	}
	if host == "" || host == "*" {
		return ":" + strconv.Itoa(port), nil
	}
	ip, err := resolveHost(host)
	if err != nil {
		return "", err
	}
	return netip.AddrPortFrom(ip, uint16(port)).String(), nil
}

// SplitList splits a comma list, dropping blanks: "svr2, svr3" is two.
func SplitList(s string) []string {
	var out []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// ResolveList resolves a comma list and drops what is named twice.
func ResolveList(s string, defaultPort int) ([]string, error) {
	var out []string
	for _, part := range SplitList(s) {
		addr, err := ResolveAddr(part, defaultPort)
		if err != nil {
			return nil, err
		}
		out = MergeAddrs(out, []string{addr})
	}
	return out, nil
}

// MergeAddrs joins lists of addresses in order, each address once.
func MergeAddrs(lists ...[]string) []string {
	var out []string
	seen := map[string]bool{}
	for _, list := range lists {
		for _, addr := range list {
			if !seen[addr] {
				seen[addr] = true
				out = append(out, addr)
			}
		}
	}
	return out
}

// splitAddr parts host and port; without a port it is the default one.
func splitAddr(s string, defaultPort int) (host string, port int, err error) {
	if s == "" {
		return "", 0, errors.New("the address is empty")
	}
	// A bare IPv6 address has colons but no port.
	if ip, err := netip.ParseAddr(s); err == nil {
		return ip.String(), defaultPort, nil
	}
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		return s[1 : len(s)-1], defaultPort, nil
	}
	if !strings.Contains(s, ":") {
		return s, defaultPort, nil
	}
	host, portText, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, fmt.Errorf("address %q is not host:port", s)
	}
	port, err = strconv.Atoi(portText)
	if err != nil {
		return "", 0, fmt.Errorf("address %q: bad port %q", s, portText)
	}
	return host, port, checkPort(s, port)
}

func checkPort(s string, port int) error {
	if port < 1 || port > 65535 {
		return fmt.Errorf("address %q: port %d is not within 1 to 65535", s, port)
	}
	return nil
}

// resolveHost finds a host's IP, IPv4 before IPv6.
func resolveHost(host string) (netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap(), nil
	}
	// Not asked of the resolver: the tutorial works where /etc/hosts is bare.
	if host == "localhost" {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil
	}
	if strings.Trim(host, "0123456789.") == "" {
		return netip.Addr{}, fmt.Errorf("%q is not an IP address", host)
	}
	ctx, cancel := context.WithTimeout(context.Background(), resolveTimeout)
	defer cancel()
	for _, network := range []string{"ip4", "ip6"} {
		ips, err := net.DefaultResolver.LookupNetIP(ctx, network, host)
		if err == nil && len(ips) > 0 {
			return ips[0].Unmap(), nil
		}
	}
	return netip.Addr{}, fmt.Errorf("%w %q", ErrUnknownHost, host)
}
