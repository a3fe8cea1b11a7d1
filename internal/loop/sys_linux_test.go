package loop

import (
	"errors"
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func nativeCore(l Loop) *core {
	if m, ok := l.(*groupLoop); ok {
		return &m.core
	}
	return &l.(*epollLoop).core
}

// deaf is an address where a dial hangs: a listener whose queue is full, as the
// kernel drops what else would come.
func (r *rig) deaf() string {
	r.t.Helper()
	if r.kind == "memory" {
		r.memory.Blackhole("deaf:1", true)
		return "deaf:1"
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		r.t.Cleanup(func() { unix.Close(fd) })
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	if err == nil {
		err = unix.Listen(fd, 0)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	sa, _ := unix.Getsockname(fd)
	addr := addrString(sa)
	nc, err := net.Dial("tcp", addr) // the one that fits
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { nc.Close() })
	return addr
}

// When no descriptor is left the listener rests, says so, and takes the waiting
// connection later.
func TestNoDescriptors(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		if r.kind == "memory" {
			t.Skip("no descriptors there")
		}
		l := r.make()
		troubles := make(chan error, 100)
		l.OnError(func(err error) { troubles <- err })
		turns := 0
		l.OnTurnEnd(func() { turns++ })
		li, err := l.Listen("127.0.0.1:0", echo)
		if err != nil {
			t.Fatal(err)
		}
		startLoop(t, l)
		do(t, l, func() {})

		client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(client)
		ap, _ := parseAddr(li.Addr())
		sa, _ := sockaddr(ap)

		var limit, none unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
		none = limit
		none.Cur = 0
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
			t.Fatal(err)
		}
		restore := func() { unix.Setrlimit(unix.RLIMIT_NOFILE, &limit) }
		defer restore()
		if err := unix.Connect(client, sa); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := await(t, troubles); !errors.Is(err, syscall.EMFILE) {
				t.Errorf("error %v", err)
			}
		}
		do(t, l, func() {
			if turns > 50 {
				t.Errorf("%d turns: it spins", turns)
			}
		})
		restore()
		buf := []byte("after")
		unix.Write(client, buf)
		if n, err := unix.Read(client, buf); n != 5 || err != nil {
			t.Errorf("read %d, %v", n, err)
		}
	})
}
