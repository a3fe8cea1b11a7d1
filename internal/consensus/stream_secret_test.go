package consensus

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/secret"
)

// Raft's connections prove the secret too, at the port that they come through.
func TestStreamsHaveTheSecret(t *testing.T) {
	of := func(line string) *secret.Secret {
		s, err := secret.New(nil, line)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	right := of("the secret of this cluster")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := raft.ServerAddress(l.Addr().String())
	mux := control.NewMux(l, right, slog.New(slog.DiscardHandler))
	names := func(s *secret.Secret) Names {
		return Names{Self: "b", Cluster: func() string { return "7" }, Peer: func(string) string { return "b" }, Secret: s}
	}
	layer := NewLayer(mux.Magic(StreamMagic), string(addr), names(right))
	var wg sync.WaitGroup
	wg.Go(func() { _ = mux.Serve() })
	wg.Go(func() {
		for {
			c, err := layer.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "hello")
			c.Close()
		}
	})
	t.Cleanup(func() { layer.Close(); mux.Close(); wg.Wait() })
	dial := func(s *secret.Secret) (net.Conn, error) {
		d := &Layer{conns: map[net.Conn]struct{}{}, names: names(s)}
		return d.Dial(addr, 5*time.Second)
	}
	c, err := dial(right)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if b, err := io.ReadAll(c); string(b) != "hello" || err != nil {
		t.Errorf("%q %v", b, err)
	}
	if _, err := dial(of("the secret of another cluster")); !errors.Is(err, secret.ErrOther) {
		t.Error(err)
	}
	if _, err := dial(nil); err == nil {
		t.Error("taken without the secret")
	}
}
