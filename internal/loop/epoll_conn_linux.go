package loop

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// epollConn is the transport of one socket.
type epollConn struct {
	l      *epollLoop
	c      *conn
	fd     int // -1: closed
	mask   uint32
	remote unix.Sockaddr
	local  string // looked up when first asked for
}

func (t *epollConn) event(mask uint32) {
	c := t.c
	if c.state == connecting {
		c.dialed(t.connectError())
		return
	}
	// An error or a hangup of both sides is found by reading, after the data
	// that came before it; where nothing is read it has to be acted on here, as
	// the event comes again and again.
	if mask&(unix.EPOLLERR|unix.EPOLLHUP) != 0 && !c.wantsRead() {
		c.end(t.socketError())
		return
	}
	if mask&(unix.EPOLLIN|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		c.readable()
	}
	if mask&unix.EPOLLOUT != 0 && c.state == open {
		c.writable()
	}
}

func (t *epollConn) recv(p []byte) (int, error) {
	n, e := rawRead(t.fd, p)
	switch {
	case e == unix.EAGAIN:
		return 0, errAgain
	case e != 0:
		return 0, os.NewSyscallError("read", e)
	case n == 0:
		return 0, io.EOF
	case n < min(len(p), rawMax):
		return n, errAgain // all there was; spares the call that says so
	}
	return n, nil
}

func (t *epollConn) send(p []byte) (int, error) {
	n, e := rawWrite(t.fd, p)
	switch {
	case e == unix.EAGAIN:
		return 0, errAgain
	case e != 0:
		return 0, os.NewSyscallError("write", e)
	case n < min(len(p), rawMax):
		return n, errAgain
	}
	return n, nil
}

func (t *epollConn) interest(read, write bool) {
	var mask uint32
	if read {
		mask |= unix.EPOLLIN
	}
	if write {
		mask |= unix.EPOLLOUT
	}
	if mask != t.mask {
		t.mask = mask
		t.l.change(t.fd, mask)
	}
}

func (t *epollConn) shut() {
	if t.fd >= 0 {
		t.l.forget(t.fd) // the kernel unregisters a socket that is closed
		unix.Close(t.fd)
		t.fd = -1
	}
}

func (t *epollConn) detach(rest []byte) (net.Conn, error) {
	fd, err := unix.FcntlInt(uintptr(t.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	f := os.NewFile(uintptr(fd), "tcp")
	nc, err := net.FileConn(f) // has a descriptor of its own
	f.Close()
	if err != nil {
		return nil, err
	}
	t.localAddr()
	t.l.unregister(t.fd)
	unix.Close(t.fd)
	t.fd = -1
	return withPrefix(nc, rest), nil
}

// socketError is the error that the socket waits to report, or io.EOF.
func (t *epollConn) socketError() error {
	e, err := unix.GetsockoptInt(t.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && e != 0 {
		err = unix.Errno(e)
	}
	if err != nil {
		return os.NewSyscallError("poll", err)
	}
	return io.EOF
}

// connectError is nil if the connect has succeeded.
func (t *epollConn) connectError() error {
	e, err := unix.GetsockoptInt(t.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && e != 0 {
		err = unix.Errno(e)
	}
	if err == nil && t.localAddr() == t.remoteAddr() {
		// Dialing a free port of this machine can connect to itself, when the
		// kernel takes that port for this end.
		err = unix.ECONNREFUSED
	}
	if err == nil {
		return nil
	}
	return dialError(t.remoteAddr(), os.NewSyscallError("connect", err))
}

func (t *epollConn) remoteAddr() string { return addrString(t.remote) }

func (t *epollConn) localAddr() string {
	if t.local == "" && t.fd >= 0 {
		if sa, err := unix.Getsockname(t.fd); err == nil {
			t.local = addrString(sa)
		}
	}
	return t.local
}

func (l *epollLoop) Dial(addr string, timeout time.Duration, h Handler) Conn {
	t := &epollConn{l: l, fd: -1, mask: unix.EPOLLOUT}
	t.c = l.newConn(t, h, connecting)
	if err := t.connect(addr); err != nil {
		t.c.end(dialError(addr, err))
	} else {
		t.c.dialing(addr, timeout)
	}
	return t.c
}

func (t *epollConn) connect(addr string) error {
	ap, err := parseAddr(addr)
	if err != nil {
		return err
	}
	ip := ap.Addr()
	if !ip.IsValid() { // ":port" is this machine, as with package net
		ap = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), ap.Port())
	}
	sa, family := sockaddr(ap)
	t.remote = sa
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	if err = setOptions(fd); err == nil {
		err = os.NewSyscallError("connect", unix.Connect(fd, sa))
		if errors.Is(err, unix.EINPROGRESS) {
			err = nil // nor is it done at once otherwise: EPOLLOUT tells
		}
	}
	if err == nil {
		err = t.l.add(fd, t.mask, t)
	}
	if err != nil {
		unix.Close(fd)
		return err
	}
	t.fd = fd
	return nil
}

// setOptions is for listeners, whose connections inherit it, and dialed sockets.
func setOptions(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	return os.NewSyscallError("setsockopt",
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1))
}

// sockaddr is for the system calls; an invalid address is all interfaces, of
// both families.
func sockaddr(ap netip.AddrPort) (unix.Sockaddr, int) {
	ip, port := ap.Addr(), int(ap.Port())
	switch {
	case !ip.IsValid():
		return &unix.SockaddrInet6{Port: port}, unix.AF_INET6
	case ip.Is4():
		return &unix.SockaddrInet4{Port: port, Addr: ip.As4()}, unix.AF_INET
	}
	sa := &unix.SockaddrInet6{Port: port, Addr: ip.As16()}
	if zone := ip.Zone(); zone != "" {
		if n, err := strconv.Atoi(zone); err == nil {
			sa.ZoneId = uint32(n)
		} else if ifi, err := net.InterfaceByName(zone); err == nil {
			sa.ZoneId = uint32(ifi.Index)
		}
	}
	return sa, unix.AF_INET6
}

func addrString(sa unix.Sockaddr) string {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)).String()
	case *unix.SockaddrInet6:
		ip := netip.AddrFrom16(a.Addr).Unmap()
		if a.ZoneId != 0 && ip.Is6() {
			ip = ip.WithZone(strconv.Itoa(int(a.ZoneId)))
		}
		return netip.AddrPortFrom(ip, uint16(a.Port)).String()
	}
	return ""
}
