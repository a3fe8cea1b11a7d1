package memproto

import (
	"testing"

	"github.com/kumofs/kumofs/internal/item"
)

// me tells of earlier accesses, so it must not go beside another read of its client.
func TestDebugShowsAccess(t *testing.T) {
	var p Parser
	var cmd Command
	if n, err := p.Next([]byte("me k\r\n"), &cmd); n == 0 || err != nil || !cmd.Request.Has(item.ShowAccess|item.NoBump) {
		t.Fatalf("%d %v %+v", n, err, cmd.Request)
	}
	if !cmd.Request.Has(item.ShowAccess) {
		t.Error("it may overtake what it tells of")
	}
}
