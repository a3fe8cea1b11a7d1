package frontend_test

import (
	"fmt"
	"io"
	"math/rand"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/frontend"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/router"
	"github.com/kumofs/kumofs/internal/router/routertest"
	"github.com/kumofs/kumofs/internal/wire"
)

func TestCommands(t *testing.T) {
	g := newRig(t, router.Options{}, frontend.Options{AllowFlushAll: true})
	s := g.dial()
	for _, d := range [][2]string{
		{"get a\r\n", end},
		{set("a", "1"), stored},
		{"get a\r\n", hit("a", "1") + end},
		{"incr a 9\r\nget a\r\n", "10\r\n" + hit("a", "10") + end},
		{"add a 0 0 1\r\nx\r\nreplace b 0 0 1\r\nx\r\n", "NOT_STORED\r\nNOT_STORED\r\n"},
		{"append a 0 0 1\r\n0\r\nprepend a 0 0 1\r\n2\r\nget a\r\n", stored + stored + hit("a", "2100") + end},
		{"touch a 100\r\ntouch b 1\r\ngat 0 a b\r\n", "TOUCHED\r\nNOT_FOUND\r\n" + hit("a", "2100") + end},
		{"cas a 0 0 1 1\r\nx\r\n", "EXISTS\r\n"},
		{"delete a\r\ndelete a\r\n", "DELETED\r\nNOT_FOUND\r\n"},
		{"bogus\r\nversion\r\nverbosity 1\r\ncache_memlimit 64\r\n", "ERROR\r\nVERSION 1.6.45\r\nOK\r\nOK\r\n"},
		{"shutdown\r\n", "ERROR: shutdown not enabled\r\n"},
		{"set n 0 0 1 noreply\r\n1\r\nincr n 1 noreply\r\nadd n 0 0 1 noreply\r\n7\r\nget n\r\n", hit("n", "2") + end},
		{set("x", "1") + "flush_all\r\nget x\r\n" + set("x", "2") + "flush_all 0 noreply\r\nget x\r\n", stored + "OK\r\n" + end + stored + end},
		{"get " + strings.Repeat("k", 251) + "\r\n", "CLIENT_ERROR bad command line format\r\n"},
		{"get n", ""}, {"\r\nquit\r\nget n\r\n", end},
	} {
		s.send(d[0])
		s.want(d[1])
	}
	s.wantEnd()
}

func TestFlushAllNotAllowed(t *testing.T) {
	g := newRig(t, router.Options{}, frontend.Options{})
	s := g.dial()
	s.send(set("a", "1") + "flush_all\r\nflush_all noreply\r\nget a\r\n")
	s.want(stored + "CLIENT_ERROR flush_all not allowed\r\n" + hit("a", "1") + end)
}

// The answers to a deep pipeline come in order, and each command sees the ones
// before it, though the servers answer in any order and refuse some.
func TestPipeline(t *testing.T) {
	g := newRig(t, router.Options{}, frontend.Options{})
	g.shuffle()
	rnd := rand.New(rand.NewSource(1))
	for round := range 5 {
		s := g.dial()
		model := map[string]string{}
		var in, out strings.Builder
		for i := range 600 {
			key := fmt.Sprintf("r%d-%d", round, rnd.Intn(40))
			v, ok := model[key]
			switch rnd.Intn(6) {
			case 0, 1:
				v = fmt.Sprintf("value %d", i)
				if rnd.Intn(10) == 0 {
					v = big[:100_000]
				}
				model[key] = v
				in.WriteString(set(key, v))
				out.WriteString(stored)
			case 2:
				delete(model, key)
				in.WriteString("delete " + key + "\r\n")
				if ok {
					out.WriteString("DELETED\r\n")
				} else {
					out.WriteString("NOT_FOUND\r\n")
				}
			case 3:
				model[key] = "n"
				in.WriteString("set " + key + " 0 0 1 noreply\r\nn\r\n")
			case 4:
				in.WriteString("get")
				for j := range 5 {
					key := fmt.Sprintf("r%d-%d", round, j)
					in.WriteString(" " + key)
					if v, ok := model[key]; ok {
						out.WriteString(hit(key, v))
					}
				}
				in.WriteString("\r\n")
				out.WriteString(end)
			case 5:
				in.WriteString("get " + key + "\r\nversion\r\n")
				if ok {
					out.WriteString(hit(key, v))
				}
				out.WriteString(end + "VERSION 1.6.45\r\n")
			}
		}
		go io.WriteString(s.Conn, in.String())
		s.want(out.String())
	}
	g.on(func() {
		if s := g.r.Stats(); s.Outstanding != 0 || s.Bytes != 0 {
			t.Errorf("left over: %+v", s)
		}
	})
}

func TestSameKeyPipelineAcrossNak(t *testing.T) {
	g := newRig(t, router.Options{}, frontend.Options{})
	left := 3
	g.script(func(try *routertest.Try) bool {
		left--
		if left >= 0 {
			try.Nak(wire.NakNotReady, clustermap.Partition{})
		}
		return left >= 0
	})
	s := g.dial()
	var in, out strings.Builder
	in.WriteString(set("n", "0"))
	out.WriteString(stored)
	for i := 1; i <= 600; i++ {
		in.WriteString("incr n 1\r\n")
		fmt.Fprintf(&out, "%d\r\n", i)
	}
	s.send(in.String())
	s.want(out.String())
}

func TestMultiGet(t *testing.T) {
	g := newRig(t, router.Options{}, frontend.Options{})
	g.shuffle()
	s := g.dial()
	var in, line, out strings.Builder
	line.WriteString("get")
	for i := range 1000 {
		key := fmt.Sprintf("key%d", i)
		line.WriteString(" " + key)
		if i%3 == 0 {
			continue
		}
		in.WriteString(set(key, "v"+key))
		out.WriteString(hit(key, "v"+key))
	}
	go io.WriteString(s.Conn, in.String())
	s.want(strings.Repeat(stored, 666))
	for range 3 {
		s.send(line.String() + "\r\n" + "get key1\r\n")
		s.want(out.String() + end + hit("key1", "vkey1") + end)
	}
}

func TestMultiGetError(t *testing.T) {
	g := newRig(t, router.Options{}, frontend.Options{})
	g.script(func(try *routertest.Try) bool {
		if string(try.Req.Key) == "bad" {
			try.Answer(item.Result{Status: item.Failed, Message: "no\r\nluck"})
			return true
		}
		return false
	})
	s := g.dial()
	s.send(set("a", "1") + "get a bad a\r\nget bad\r\nget a\r\n")
	s.want(stored + "SERVER_ERROR no  luck\r\nSERVER_ERROR no  luck\r\n" + hit("a", "1") + end)
	// What has gone out cannot be taken back: the error is in END's place.
	s.send(set("big", big) + "get" + strings.Repeat(" big", 9) + " bad a\r\nget a\r\n")
	s.want(stored)
	for range 9 {
		s.want(hit("big", big))
	}
	s.want("SERVER_ERROR no  luck\r\n" + hit("a", "1") + end)
}

func TestTooLarge(t *testing.T) {
	g := newRig(t, router.Options{}, frontend.Options{})
	s := g.dial()
	s.send(set("a", "1") + set("a", big+"x") + "get a\r\n")
	s.want(stored + "SERVER_ERROR object too large for cache\r\n" + end)
	s.send(set("a", big) + "append a 0 0 1\r\nx\r\nget a\r\n")
	s.want(stored + "SERVER_ERROR object too large for cache\r\n" + hit("a", big) + end)
}

func TestKeyPrefix(t *testing.T) {
	g := newRig(t, router.Options{}, frontend.Options{KeyPrefix: "app:"})
	s := g.dial()
	s.send(set("a", "1") + "get a b a\r\n")
	s.want(stored + hit("a", "1") + hit("a", "1") + end)
	g.on(func() {
		if g.servers[0].Store.Items["app:a"] == nil {
			t.Error("the prefix is not in the store")
		}
	})
}

func TestHalfClose(t *testing.T) {
	g := newRig(t, router.Options{}, frontend.Options{})
	s := g.dial()
	s.send(set("a", "1") + "get a\r\nget a")
	s.Conn.(interface{ CloseWrite() error }).CloseWrite()
	s.want(stored + hit("a", "1") + end)
	s.wantEnd()
}

func TestGarbage(t *testing.T) {
	g := newRig(t, router.Options{}, frontend.Options{})
	rnd := rand.New(rand.NewSource(2))
	for range 200 {
		s := g.dial()
		b := make([]byte, rnd.Intn(5000))
		rnd.Read(b)
		s.Conn.Write(b)
		s.Conn.Close()
	}
	for _, first := range []string{"GET / HTTP/1.1\r\n", strings.Repeat("x", 4000)} {
		s := g.dial()
		s.send("version\r\n")
		s.want("VERSION 1.6.45\r\n")
		s.send(first)
		s.wantEnd()
	}
	s := g.dial()
	s.send("get a\r\n")
	s.want(end)
}

func TestClosedBeforeAnswer(t *testing.T) {
	g := newRig(t, router.Options{}, frontend.Options{})
	var held []*routertest.Try
	g.script(func(try *routertest.Try) bool { held = append(held, try); return true })
	s := g.dial()
	s.send("get a b c\r\n" + set("a", "1") + "get d\r\n")
	count := func() (n int) { g.on(func() { n = len(held) }); return n }
	for count() < 4 {
		time.Sleep(time.Millisecond)
	}
	s.Conn.(*net.TCPConn).SetLinger(0) // else it might only have closed its side
	s.Close()
	for conns := uint64(1); conns > 0; {
		g.on(func() { conns = g.f.Counters().CurrConnections })
	}
	g.on(func() {
		for i := len(held) - 1; i >= 0; i-- {
			held[i].Execute()
		}
		for _, srv := range g.servers {
			srv.Script = nil
		}
	})
	other := g.dial()
	other.send("get d\r\n")
	other.want(end)
}
