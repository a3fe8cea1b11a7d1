package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/test/memcached"
)

// fake is a server of the text protocol that does what a test wants wrong.
type fake struct {
	net.Listener
	mu    sync.Mutex
	items map[string][]byte
	// answer is told of each get of one key and may answer otherwise; "" closes.
	answer func(n int64, key string, right []byte) []byte
	gets   atomic.Int64
}

func newFake(t *testing.T, answer func(n int64, key string, right []byte) []byte) *fake {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	f := &fake{Listener: l, items: map[string][]byte{}, answer: answer}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go f.serve(c)
		}
	}()
	return f
}

func (f *fake) addr() string { return f.Listener.Addr().String() }

func (f *fake) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		words := strings.Fields(line)
		if words[0] == "set" {
			size, _ := strconv.Atoi(words[4])
			v := make([]byte, size+2)
			if _, err := io.ReadFull(r, v); err != nil {
				return
			}
			f.mu.Lock()
			f.items[words[1]] = v[:size]
			f.mu.Unlock()
			fmt.Fprint(c, "STORED\r\n")
			continue
		}
		f.mu.Lock()
		v, ok := f.items[words[1]]
		f.mu.Unlock()
		var out []byte
		if ok {
			out = fmt.Appendf(nil, "VALUE %s 0 %d\r\n%s\r\n", words[1], len(v), v)
		}
		out = append(out, "END\r\n"...)
		if f.answer != nil {
			out = f.answer(f.gets.Add(1), words[1], out)
		}
		if len(out) == 0 {
			return
		}
		c.Write(out)
	}
}

// kumobench runs the program; the results are those of --json.
func kumobench(t *testing.T, args ...string) (r report, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var out bytes.Buffer
	err = Kumobench(ctx, append(args, "--json"), &out)
	if out.Len() > 0 {
		if err := json.Unmarshal(out.Bytes(), &r); err != nil {
			t.Fatalf("%v: %s", err, out.Bytes())
		}
	}
	return r, err
}

func status(err error) int {
	var exit *cli.Exit
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.Code
	}
	return -1
}

// load is short, and has more than one of everything.
var load = strings.Fields("--fill --keys 100 --operations 1000 --warm-up 0 --connections 4 --threads 2 --pipeline 3 --value-size 20-90")

func TestMissesAreCounted(t *testing.T) {
	f := newFake(t, nil)
	r, err := kumobench(t, append([]string{f.addr()}, load[1:]...)...) // not filled
	if err != nil {
		t.Fatal(err)
	}
	if m := r.Systems[0].Rounds[0]; m.Operations != 1000 || m.Misses != 1000 || m.Hits != 0 {
		t.Errorf("%+v", m)
	}
}

func TestWrongValuesAreCounted(t *testing.T) {
	f := newFake(t, func(n int64, key string, right []byte) []byte {
		switch n {
		case 10: // torn
			right[len(right)-12] ^= 1
		case 20: // another key's
			v := AppendValue(nil, 12345, 50, 1)
			return fmt.Appendf(nil, "VALUE %s 0 50\r\n%s\r\nEND\r\n", key, v)
		}
		return right
	})
	r, err := kumobench(t, append([]string{f.addr(), "--tolerate"}, load...)...)
	m := r.Systems[0].Rounds[0]
	if status(err) != 1 || m.Wrong != 2 || m.Hits != 998 || m.Operations != 1000 || m.FirstWrong == "" || m.Lost != 0 {
		t.Errorf("%v %+v", err, m)
	}
}

func TestErrorsAreCounted(t *testing.T) {
	answer := func(n int64, _ string, right []byte) []byte {
		if n%100 == 0 {
			return fmt.Appendf(nil, "SERVER_ERROR number %d\r\n", n%200)
		}
		return right
	}
	r, err := kumobench(t, append([]string{newFake(t, answer).addr()}, load...)...)
	m := r.Systems[0].Rounds[0]
	if status(err) != 1 || m.Failed() != 10 || m.Errors["SERVER_ERROR number 0"] != 5 || m.Hits != 990 {
		t.Errorf("%v %+v", err, m)
	}
	if _, err := kumobench(t, append([]string{newFake(t, answer).addr(), "--tolerate"}, load...)...); err != nil {
		t.Errorf("--tolerate: %v", err)
	}
	var out bytes.Buffer
	err = Kumobench(t.Context(), append([]string{newFake(t, answer).addr()}, load...), &out)
	if status(err) != 1 || !strings.Contains(out.String(), "10 operations failed") || !strings.Contains(out.String(), "5 failed: SERVER_ERROR number 0\n") {
		t.Errorf("%v %s", err, out.String())
	}
}

// TestReconnects: a connection that is lost, that answers nonsense or that does not
// answer costs what was in flight there, and no more.
func TestReconnects(t *testing.T) {
	for name, answer := range map[string][]byte{
		"closed by the server":   nil,
		"not the protocol":       []byte("SMTP ready\r\n"),
		"not asked for":          []byte("END\r\nEND\r\nEND\r\nEND\r\nEND\r\n"),
		"no answer within 500ms": []byte("VALUE"),
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, func(n int64, _ string, right []byte) []byte {
				if n == 100 || n == 500 {
					return answer
				}
				return right
			})
			r, err := kumobench(t, append(append([]string{f.addr()}, load...), "--timeout", "0.5", "--pipeline", "1")...)
			m := r.Systems[0].Rounds[0]
			said := false
			for reason := range m.Errors {
				said = said || strings.Contains(reason, name)
			}
			// Of answers that nobody asked for the first is taken for the answer.
			if status(err) != 1 && name != "not asked for" || m.Operations != 1000 || m.Lost != 2 || m.Failed() > 2 || !said && m.Failed() > 0 {
				t.Errorf("%v %+v", err, m)
			}
		})
	}
}

func TestServerThatGoesAway(t *testing.T) {
	var f *fake
	f = newFake(t, func(n int64, _ string, right []byte) []byte {
		if n == 500 {
			f.Close()
		}
		if n >= 500 {
			return nil
		}
		return right
	})
	_, err := kumobench(t, append([]string{f.addr(), "--timeout", "0.3"}, load...)...)
	if err == nil || !strings.Contains(err.Error(), f.addr()+": no connection for 300ms") {
		t.Error(err)
	}
	if _, err := kumobench(t, f.addr()); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Error(err)
	}
}

// TestOpenLoop: a server that stands still for a while delays every operation that is
// due meanwhile, and their latencies tell; in a closed loop they hide.
func TestOpenLoop(t *testing.T) {
	const pause = 400 * time.Millisecond
	var standing sync.RWMutex
	answer := func(n int64, _ string, right []byte) []byte {
		if n == 200 {
			standing.Lock()
			time.Sleep(pause)
			standing.Unlock()
		}
		standing.RLock()
		defer standing.RUnlock()
		return right
	}
	args := strings.Fields("--fill --keys 100 --warm-up 0 --connections 2 --value-size 20")
	r, err := kumobench(t, append([]string{newFake(t, answer).addr(), "--rate", "1000", "--time", "1"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	m := r.Systems[0].Rounds[0]
	// 400 of the 1000 were due within the pause; half of them waited half of it.
	if m.Operations != 1000 || m.Seconds < 0.95 || m.All.Count != 1000 || m.Wait == nil || m.All.P90 < 150 || m.Wait.P90 < 150 || m.All.Max < 390 || m.OwnCPU != nil && *m.OwnCPU <= 0 {
		t.Errorf("open loop: %+v, wait %+v", m, m.Wait)
	}
	r, err = kumobench(t, append([]string{newFake(t, answer).addr(), "--operations", "1000"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	if m := r.Systems[0].Rounds[0]; m.All.P90 > 100 || m.All.Max < 390 || m.Wait != nil {
		t.Errorf("closed loop: %+v", m)
	}
}

func TestTime(t *testing.T) {
	f := newFake(t, nil)
	r, err := kumobench(t, f.addr(), "--time", "0.3", "--set", "50", "--connections", "2", "--value-size", "0")
	if err != nil {
		t.Fatal(err)
	}
	if m := r.Systems[0].Rounds[0]; m.Seconds < 0.3 || m.Seconds > 3 || m.Operations < 10 || m.Get == nil || m.Set == nil || m.All.Count != m.Operations {
		t.Errorf("%+v", m)
	}
}

func TestInterrupted(t *testing.T) {
	for _, c := range []struct {
		warmUp string
		shown  bool
	}{{"0", true}, {"1000", false}} {
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		var out bytes.Buffer
		err := Kumobench(ctx, []string{newFake(t, nil).addr(), "--rate", "20", "--time", "600", "--warm-up", c.warmUp}, &out)
		if shown := strings.Contains(out.String(), "interrupted") && strings.Contains(out.String(), " misses"); shown != c.shown || c.shown != (err == nil) || err != nil && !errors.Is(err, ctx.Err()) {
			t.Errorf("--warm-up %s: %v %s", c.warmUp, err, out.String())
		}
	}
}

// TestCompare compares a server with a slower one.
func TestCompare(t *testing.T) {
	slow := newFake(t, func(_ int64, _ string, right []byte) []byte {
		time.Sleep(2 * time.Millisecond)
		return right
	})
	fast := newFake(t, nil)
	args := []string{"--compare", fmt.Sprintf("fast=%s,pid=%d", fast.addr(), os.Getpid()), "--compare", "slow=" + slow.addr(), "--rounds", "3", "--fill", "--keys", "50", "--warm-up", "10", "--operations", "300", "--connections", "2"}
	r, err := kumobench(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	a, b := r.Systems[0], r.Systems[1]
	if len(a.Rounds) != 3 || len(b.Rounds) != 3 || a.Ratio.PerSecond != (Spread{1, 1, 1}) || b.Ratio.PerSecond.Max >= 1 || b.Ratio.PerSecond.Min <= 0 ||
		a.Summary.CPU == nil || b.Summary.CPU != nil {
		t.Errorf("%+v %+v", a.Ratio, b.Ratio)
	}
	var out bytes.Buffer
	if err := Kumobench(t.Context(), args, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"medians of 3 rounds", "\nfast ", "\nslow ", "ratio"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestNoSuchProcess(t *testing.T) {
	_, err := kumobench(t, newFake(t, nil).addr(), "--pid", "999999999")
	if err == nil || !strings.Contains(err.Error(), "process 999999999") {
		t.Error(err)
	}
}

// TestMemcached puts a real memcached under every kind of load.
func TestMemcached(t *testing.T) {
	s, err := memcached.Start()
	if err != nil {
		t.Skip(err)
	}
	defer s.Stop()
	for _, p := range []string{"text", "meta", "binary"} {
		everyLoad(t, s.Addr, p)
	}
}

func TestRedis(t *testing.T) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("no redis-server is installed (scripts/deps installs it)")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	cmd := exec.Command(path, "--bind", "127.0.0.1", "--port", addr[strings.LastIndexByte(addr, ':')+1:], "--save", "", "--dir", t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			break
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	everyLoad(t, addr, "redis")
}

// everyLoad runs short loads of every kind, of which nothing may fail.
func everyLoad(t *testing.T, addr, protocol string) {
	for _, more := range []string{"", "--set 100", "--set 50 --multiget 7 --pipeline 20 --value-size 0-20000", "--rate 5000 --set 10 --distribution zipf"} {
		args := append([]string{addr, "--protocol", protocol}, load...)
		r, err := kumobench(t, append(args, strings.Fields(more)...)...)
		if err != nil {
			t.Errorf("%s %s: %v", protocol, more, err)
			continue
		}
		if m := r.Systems[0].Rounds[0]; m.Operations != 1000 || m.Misses > 0 || m.Wrong > 0 || m.Failed() > 0 || m.Lost > 0 || m.Get != nil && m.Hits < m.Get.Count {
			t.Errorf("%s %s: %+v", protocol, more, m)
		}
	}
}

// TestAddressesShareTheLoad: every second connection is to the second address.
func TestAddressesShareTheLoad(t *testing.T) {
	right := func(_ int64, _ string, right []byte) []byte { return right }
	a, b := newFake(t, right), newFake(t, right)
	r, err := kumobench(t, a.addr()+"+"+b.addr(), "--connections", "4", "--threads", "3", "--rate", "2000", "--operations", "1000", "--warm-up", "0", "--keys", "10")
	if err != nil {
		t.Fatal(err)
	}
	if m := r.Systems[0].Rounds[0]; m.Operations != 1000 || a.gets.Load()+b.gets.Load() != 1000 || a.gets.Load() < 200 || b.gets.Load() < 200 {
		t.Errorf("%d and %d gets, %+v", a.gets.Load(), b.gets.Load(), m)
	}
	if addr := r.Systems[0].Addr; addr != a.addr()+"+"+b.addr() {
		t.Error(addr)
	}
}
