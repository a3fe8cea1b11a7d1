package control

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestMuxTellsConnectionsApart(t *testing.T) {
	m := NewMux(listen(t), nil, slog.New(slog.DiscardHandler))
	defer m.Close()
	links := m.Magic(Magic)
	web := m.HTTP()
	go http.Serve(web, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello "+r.Method) }))
	go m.Serve()
	addr := m.Addr().String()

	// Silent and garbage connections hold nothing up.
	for range 20 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	g, _ := net.Dial("tcp", addr)
	defer g.Close()
	g.Write([]byte("rubbish\r\n"))
	g.SetReadDeadline(time.Now().Add(2 * time.Second))
	if _, err := g.Read(make([]byte, 1)); err == nil || err.(net.Error).Timeout() {
		t.Errorf("garbage is not closed at once: %v", err)
	}

	resp, err := http.Post("http://"+addr+"/", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if string(b) != "hello POST" {
		t.Errorf("got %q", b)
	}

	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write([]byte(Magic)[:3])
	time.Sleep(20 * time.Millisecond)
	c.Write(append([]byte(Magic)[3:], "rest"...))
	a, err := links.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	got := make([]byte, len(Magic)+4)
	if _, err := io.ReadFull(a, got); err != nil || string(got) != Magic+"rest" {
		t.Errorf("got %q, %v", got, err)
	}

	m.Close()
	if _, err := links.Accept(); err == nil {
		t.Error("a route outlives its port")
	}
}
