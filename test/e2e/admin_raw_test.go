package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// raw is a memcached connection that says what it is told to.
type raw struct {
	t testing.TB
	c net.Conn
	r *bufio.Reader
}

func dialRaw(t testing.TB, addr string) *raw {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &raw{t, c, newReader(c)}
}

func newReader(c net.Conn) *bufio.Reader { return bufio.NewReaderSize(c, 64<<10) }

// line is the next line of the answer, without its end.
func (m *raw) line() string {
	m.t.Helper()
	_ = m.c.SetReadDeadline(time.Now().Add(30 * time.Second))
	s, err := m.r.ReadString('\n')
	if err != nil {
		m.t.Fatalf("no answer: %v (%q)", err, s)
	}
	return strings.TrimSuffix(s, "\r\n")
}

// ask sends a command and gives the first line of its answer.
func (m *raw) ask(cmd string) string {
	m.t.Helper()
	if _, err := io.WriteString(m.c, cmd); err != nil {
		m.t.Fatal(err)
	}
	return m.line()
}

// each sends commands without waiting; every answer must be want.
func (m *raw) each(cmds []string, want string) {
	m.t.Helper()
	sent := make(chan error, 1)
	go func() {
		w := bufio.NewWriterSize(m.c, 64<<10)
		for _, cmd := range cmds {
			_, _ = w.WriteString(cmd) // Flush tells
		}
		sent <- w.Flush()
	}()
	for i := range cmds {
		if got := m.line(); got != want {
			m.t.Fatalf("%.100q: %q", cmds[i], got)
		}
	}
	if err := <-sent; err != nil {
		m.t.Fatal(err)
	}
}

type found struct {
	flags uint32
	value string
}

// values reads the answer to a get.
func (m *raw) values() map[string]found {
	m.t.Helper()
	all := map[string]found{}
	for {
		line := m.line()
		if line == "END" {
			return all
		}
		f := strings.Fields(line)
		if len(f) < 4 || f[0] != "VALUE" {
			m.t.Fatalf("answer to a get: %q", line)
		}
		flags, err1 := strconv.ParseUint(f[2], 10, 32)
		n, err2 := strconv.Atoi(f[3])
		if err1 != nil || err2 != nil {
			m.t.Fatalf("answer to a get: %q", line)
		}
		b := make([]byte, n+2)
		if _, err := io.ReadFull(m.r, b); err != nil {
			m.t.Fatal(err)
		}
		all[f[1]] = found{uint32(flags), string(b[:n])}
	}
}

// getAll gets keys, a hundred at a time.
func (m *raw) getAll(keys []string) map[string]found {
	m.t.Helper()
	all := map[string]found{}
	for len(keys) > 0 {
		n := min(100, len(keys))
		if _, err := fmt.Fprintf(m.c, "get %s\r\n", strings.Join(keys[:n], " ")); err != nil {
			m.t.Fatal(err)
		}
		for k, v := range m.values() {
			all[k] = v
		}
		keys = keys[n:]
	}
	return all
}
