package memproto

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the random differential test; 0 takes the time")

// The tests of this file put the same bytes to a real memcached and to fake, and
// compare the answers byte for byte. They are skipped where there is no
// memcached. They were written against 1.6.18.

// real is a memcached of our own on a loopback port.
type real struct {
	addr    string
	version string // as it answers: 1.6.18
}

func startMemcached(t *testing.T) *real {
	t.Helper()
	path, err := exec.LookPath("memcached")
	if err != nil {
		t.Skip("no memcached to compare with")
	}
	// memcached takes no port 0: find one that is free.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &real{addr: l.Addr().String()}
	_, port, _ := net.SplitHostPort(r.addr)
	l.Close()
	// no_modern: the thread that moves items in the LRU holds on to them, and incr
	// does not pad the number of an item that is held.
	args := []string{"-l", "127.0.0.1", "-p", port, "-U", "0", "-t", "1", "-m", "64", "-o", "no_modern"}
	if os.Getuid() == 0 {
		args = append(args, "-u", "root")
	}
	cmd := exec.Command(path, args...)
	if err := cmd.Start(); err != nil {
		t.Skipf("memcached does not start: %v", err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", r.addr); err == nil {
			c.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("memcached does not listen after 5 s")
		}
	}
	out, _ := r.connect(t).ask(t, "version\r\n"+sentinel)
	r.version, _, _ = strings.Cut(strings.TrimPrefix(out, "VERSION "), "\r\n")
	t.Logf("memcached %q at %s", r.version, r.addr)
	return r
}

// realConn is a connection to a memcached.
type realConn struct {
	net.Conn
	buf bytes.Buffer
}

func (r *real) connect(t *testing.T) *realConn {
	t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &realConn{Conn: c}
}

// sentinel is a command whose answer ends an answer and cannot be in it.
const (
	sentinel      = "set endoftest 0 0 1\r\nx\r\nget endoftest\r\n"
	sentinelReply = "STORED\r\nVALUE endoftest 0 1\r\nx\r\nEND\r\n"
)

// ask sends in, and reads to the end of the answer of the sentinel in it or
// until the server closes.
func (c *realConn) ask(t *testing.T, in string) (out string, closed bool) {
	t.Helper()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	// A server that closes the connection may do so before it has read all.
	go io.WriteString(c, in)
	c.buf.Reset()
	chunk := make([]byte, 64<<10)
	for {
		n, err := c.Read(chunk)
		c.buf.Write(chunk[:n])
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
			return c.buf.String(), true
		case err != nil:
			t.Fatalf("after %.200q: %v, got %.200q", in, err, c.buf.Bytes())
		case bytes.HasSuffix(c.buf.Bytes(), []byte(sentinelReply)):
			return c.buf.String(), false
		}
	}
}

func TestDifferentialDialogs(t *testing.T) {
	mc := startMemcached(t)
	for _, d := range dialogs {
		if d.ours != "" {
			continue
		}
		t.Run(d.name, func(t *testing.T) {
			in := d.in
			if !d.closed {
				in += sentinel
			}
			mc.connect(t).ask(t, "flush_all\r\n"+sentinel)
			want, wantClosed := mc.connect(t).ask(t, in)
			f := newFake(time.Now().Unix())
			f.name = mc.version
			got, gotClosed := f.serve([]byte(in))
			if string(got) != want || gotClosed != wantClosed {
				t.Errorf("answers %.300q closed %v; memcached %.300q closed %v", got, gotClosed, want, wantClosed)
			}
		})
	}
}

// TestDifferentialRandom has both answer the same random commands, one by one.
func TestDifferentialRandom(t *testing.T) {
	mc := startMemcached(t)
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed %d", seed)
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0)), casThere: "0", casHere: "0"}
	f := newFake(time.Now().Unix())
	f.name = mc.version
	conn := mc.connect(t)
	conn.ask(t, "flush_all\r\n"+sentinel)

	var history []string
	commands := 0
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end) && !t.Failed(); commands++ {
		line := g.command()
		theirs := strings.ReplaceAll(line, "$CAS", g.casThere)
		ours := strings.ReplaceAll(line, "$CAS", g.casHere)
		if history = append(history, fmt.Sprintf("%.100q", strings.ReplaceAll(line, longKey, "LONG"))); len(history) > 30 {
			history = history[1:]
		}
		f.now = time.Now().Unix()
		want, _ := conn.ask(t, theirs+sentinel)
		got, _ := f.feed([]byte(ours + sentinel))
		g.casThere = lastUnique(want, g.casThere)
		g.casHere = lastUnique(string(got), g.casHere)
		if a, b := hideUniques(string(got)), hideUniques(want); a != b {
			t.Errorf("answers %.300q, memcached %.300q; the last commands were\n%s", a, b, strings.Join(history, "\n"))
		}
	}
	t.Logf("%d commands", commands)
}

var uniqueOfValue = regexp.MustCompile(`(VALUE \S+ \d+ \d+) (\d+)\r\n`)

// hideUniques takes the uniques of gets and gats out: each server has its own.
func hideUniques(answer string) string {
	return uniqueOfValue.ReplaceAllString(answer, "$1 unique\r\n")
}

// lastUnique is the last unique in an answer, old if there is none.
func lastUnique(answer, old string) string {
	if m := uniqueOfValue.FindAllStringSubmatch(answer, -1); m != nil {
		return m[len(m)-1][2]
	}
	return old
}

// generator makes commands, mostly good ones, on few keys. $CAS stands for the
// unique that was seen last. No value has a minus sign: where a number is 2^63 or
// more, memcached refuses to incr it if there is one in the memory behind it.
type generator struct {
	*rand.Rand
	casThere, casHere string
}

func (g *generator) pick(words ...string) string { return words[g.IntN(len(words))] }

func (g *generator) key() string {
	return g.pick("a", "b", "c", "d", "e", longKey, "\xc3\xa9")
}

func (g *generator) exptime() string {
	return g.pick("0", "0", "0", "0", "1000", "2592000", "2147483647", "-1", "2592001", "+5000")
}

func (g *generator) value() string {
	return g.pick("", "x", "10", "9", "0", "99", "18446744073709551615", "18446744073709551616", "007 ", "5 x", " +3", "3x",
		"two\r\nlines", strings.Repeat("v", g.IntN(3000)))
}

func (g *generator) spaces() string { return g.pick(" ", " ", " ", " ", "  ") }

func (g *generator) end() string {
	return g.pick("", "", "", "", " noreply", " ") + g.pick("\r\n", "\r\n", "\r\n", "\n")
}

func (g *generator) command() string {
	sp := g.spaces()
	switch g.IntN(12) {
	case 0, 1, 2:
		value := g.value()
		return fmt.Sprintf("%s%s%s %s %s%s%d%s%s\r\n", g.pick("set", "set", "set", "add", "replace", "append", "prepend"), sp, g.key(),
			g.pick("0", "1", "4294967295"), g.exptime(), sp, len(value), g.end(), value)
	case 3:
		value := g.value()
		return fmt.Sprintf("cas %s 3 %s %d%s%s%s%s\r\n", g.key(), g.exptime(), len(value), sp, g.pick("$CAS", "$CAS", "1"), g.end(), value)
	case 4, 5:
		return g.pick("incr", "decr") + sp + g.key() + " " + g.pick("1", "1", "2", "9", "100", "0", "18446744073709551615", "+3", "-1", "x", "") + g.end()
	case 6:
		return "touch " + g.key() + sp + g.exptime() + g.end()
	case 7:
		return g.pick("gat ", "gats ") + g.exptime() + sp + g.key() + sp + g.key() + "\r\n"
	case 8:
		return "delete" + sp + g.key() + g.pick("", "", " 0", " 1") + g.end()
	case 9:
		return g.pick("bogus", "get", "verbosity 0", "delete", "incr a", "set a 1 2", "touch a", "cache_memlimit 64", "gets "+badKey) + "\r\n"
	}
	line := g.pick("get", "gets")
	for range 1 + g.IntN(5) {
		line += sp + g.key()
	}
	return line + g.pick("\r\n", " \r\n", "\n")
}
