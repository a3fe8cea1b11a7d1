//go:build unix

package loop

import (
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"
)

// cpu is the time this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// ping is a client of the benchmark: on a loop of its own, as a gateway is.
type ping struct {
	left *int
	msg  []byte
	done func()
}

func (p *ping) OnOpen(c Conn) { c.Write(p.msg) }
func (p *ping) OnData(c Conn, b []byte) int {
	if len(b) < len(p.msg) {
		return 0
	}
	if *p.left--; *p.left >= 0 {
		c.Write(p.msg)
	} else if *p.left == -1 {
		p.done()
	}
	return len(p.msg)
}
func (p *ping) OnClose(Conn, error) {}

// BenchmarkEcho is 100 bytes forth and back over 32 connections of loopback;
// the CPU time is of both sides.
func BenchmarkEcho(b *testing.B) {
	kinds := map[string]func() (Loop, error){
		"new": New,
		"net": func() (Loop, error) { return NewNet(), nil },
	}
	for name, mk := range kinds {
		b.Run(name+"/loop-client", func(b *testing.B) { benchLoops(b, mk) })
		b.Run(name+"/net-client", func(b *testing.B) { benchNetClient(b, mk) })
	}
}

func echoServer(b *testing.B, mk func() (Loop, error)) (Loop, string) {
	l, err := mk()
	if err != nil {
		b.Fatal(err)
	}
	li, err := l.Listen("127.0.0.1:0", echo)
	if err != nil {
		b.Fatal(err)
	}
	startLoop(b, l)
	return l, li.Addr()
}

func benchLoops(b *testing.B, mk func() (Loop, error)) {
	_, addr := echoServer(b, mk)
	cl, err := mk()
	if err != nil {
		b.Fatal(err)
	}
	startLoop(b, cl)
	left, done := b.N, make(chan struct{})
	b.ResetTimer()
	before := cpu()
	cl.Post(func() {
		for range 32 {
			cl.Dial(addr, time.Second, &ping{&left, make([]byte, 100), func() { close(done) }})
		}
	})
	<-done
	b.ReportMetric(float64((cpu()-before).Nanoseconds())/1e3/float64(b.N), "cpu-us/op")
}

// benchNetClient has a goroutine per connection as the client, as other
// programs have threads: the wakeups are of another kind.
func benchNetClient(b *testing.B, mk func() (Loop, error)) {
	_, addr := echoServer(b, mk)
	b.ResetTimer()
	before := cpu()
	var wg sync.WaitGroup
	for range 32 {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		wg.Go(func() {
			defer nc.Close()
			buf := make([]byte, 100)
			for range (b.N + 31) / 32 {
				nc.Write(buf)
				if _, err := io.ReadFull(nc, buf); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64((cpu()-before).Nanoseconds())/1e3/float64(b.N), "cpu-us/op")
}
