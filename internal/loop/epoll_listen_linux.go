package loop

import (
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

type epollListener struct {
	l     *epollLoop
	fd    int // -1: closed
	addr  string
	to    *takers[*epollLoop]
	pause Timer
}

func (l *epollLoop) Listen(addr string, accept func(Conn) Handler) (Listener, error) {
	ap, err := parseAddr(addr)
	if err != nil {
		return nil, err
	}
	fd, err := listen(ap)
	if err != nil && !ap.Addr().IsValid() { // a system without IPv6
		fd, err = listen(netip.AddrPortFrom(netip.IPv4Unspecified(), ap.Port()))
	}
	if err != nil {
		return nil, listenError(addr, err)
	}
	li := &epollListener{l: l, fd: fd, to: newTakers(l, accept)}
	if sa, err := unix.Getsockname(fd); err == nil {
		li.addr = addrString(sa)
	}
	if err := l.add(fd, unix.EPOLLIN, li); err != nil {
		unix.Close(fd)
		return nil, err
	}
	l.addListener(li)
	return li, nil
}

func listen(ap netip.AddrPort) (fd int, err error) {
	sa, family := sockaddr(ap)
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if family == unix.AF_INET6 {
		only := 1
		if !ap.Addr().IsValid() {
			only = 0
		}
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only)
	}
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if err == nil {
		err = setOptions(fd)
	}
	if err == nil {
		err = os.NewSyscallError("bind", unix.Bind(fd, sa))
	}
	if err == nil {
		err = os.NewSyscallError("listen", unix.Listen(fd, 4096)) // the kernel's bound holds
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (li *epollListener) Addr() string { return li.addr }

func (li *epollListener) share(l Loop, accept func(Conn) Handler) bool {
	other, ok := l.(*epollLoop)
	if ok {
		li.to.add(other, accept)
	}
	return ok
}

func (li *epollListener) Close() {
	if li.fd < 0 {
		return
	}
	if li.pause != nil {
		li.pause.Stop()
	}
	li.l.forget(li.fd)
	unix.Close(li.fd)
	li.fd = -1
	li.l.dropListener(li)
}

func (li *epollListener) event(uint32) {
	for li.fd >= 0 { // accept may close it
		fd, sa, err := unix.Accept4(li.fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch err {
		case nil:
			li.take(fd, sa)
		case unix.EAGAIN:
			return
		case unix.EINTR, unix.ECONNABORTED:
		default:
			li.rest(err)
			return
		}
	}
}

// take gives the connection to whose turn it is.
func (li *epollListener) take(fd int, sa unix.Sockaddr) {
	to := li.to.next()
	if to.l == li.l {
		to.l.adopt(fd, sa, li.addr, to.accept)
	} else if !to.l.Post(func() { to.l.adopt(fd, sa, li.addr, to.accept) }) {
		unix.Close(fd)
	}
}

// adopt makes a connection of fd, which was accepted at addr.
func (l *epollLoop) adopt(fd int, sa unix.Sockaddr, addr string, accept func(Conn) Handler) {
	t := &epollConn{l: l, fd: fd, mask: unix.EPOLLIN, remote: sa}
	if err := l.add(fd, t.mask, t); err != nil {
		unix.Close(fd)
		l.onError(listenError(addr, err))
		return
	}
	t.c = l.newConn(t, nil, open)
	t.c.accepted(accept)
}

// rest stops accepting for a while.
func (li *epollListener) rest(err error) {
	li.l.change(li.fd, 0)
	li.pause = li.l.After(acceptPause, func() { li.l.change(li.fd, unix.EPOLLIN) })
	li.l.onError(listenError(li.addr, os.NewSyscallError("accept", err)))
}
