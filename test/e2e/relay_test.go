package e2e

import (
	"net"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/secret"
	"github.com/kumofs/kumofs/internal/wire"
	"github.com/kumofs/kumofs/test/e2e/harness"
)

// A server joins a connection to another that is named: what a gateway falls back
// on when it does not reach that one itself. Who is unknown is refused.
func TestRelay(t *testing.T) {
	t.Parallel()
	t.Run("", func(t *testing.T) { testRelay(t, "") })
	t.Run("secret", func(t *testing.T) { testRelay(t, secretFile(t, "the secret of this cluster")) })
}

func testRelay(t *testing.T, file string) {
	opt := options(2)
	opt.Secret = file
	var sec *secret.Secret
	if file != "" {
		var err error
		if sec, err = secret.Load(file, nil); err != nil {
			t.Fatal(err)
		}
	}
	c := harness.Start(t, opt)
	m := c.Map()
	key, other := "", clustermap.ServerID(0)
	for i := range m.Servers {
		if m.Servers[i].Addr == c.Servers[1].Addr {
			other = m.Servers[i].ID
		}
	}
	for key == "" || m.Partitions[m.PartitionOf([]byte(key))].Primary() != other {
		key += "k"
	}
	done := func(answer string) bool { return answer == "hit" || answer == "stored" }
	dial := func(id clustermap.ServerID, pieces int) net.Conn {
		conn, err := sec.Dial(t.Context(), new(net.Dialer), "tcp", c.Servers[0].Addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		b := append(wire.AppendRelay(nil, id), wire.Magic...)
		if _, err := conn.Write(b[:pieces]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond) // so that they come apart
		if _, err := conn.Write(b[pieces:]); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	for _, pieces := range []int{3, 8, 15} {
		conn := dial(other, pieces)
		if got := ask(t, conn, 1, m, key, item.OpSet); !done(got) {
			t.Errorf("a set through another server: %s", got)
		}
		if got := ask(t, conn, 2, m, key, item.OpGet); !done(got) {
			t.Errorf("a get through another server: %s", got)
		}
	}
	for _, id := range []clustermap.ServerID{other + 1, 0} {
		if got, _ := answer(t, dial(id, 15)); got != "closed" {
			t.Errorf("a relay to a server that does not exist: %s", got)
		}
	}
	// What it was joined to ends: so does the connection.
	conn := dial(other, 13)
	if got := ask(t, conn, 1, m, key, item.OpSet); !done(got) {
		t.Fatal(got)
	}
	c.Servers[1].Kill9()
	if got, _ := answer(t, conn); got != "closed" {
		t.Errorf("after the end of the server: %s", got)
	}
}
