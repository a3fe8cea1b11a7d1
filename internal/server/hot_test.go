package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/loop"
)

// postNow runs at once what is posted.
type postNow struct{ loop.Loop }

func (postNow) Post(f func()) bool { f(); return true }

func TestHotKeys(t *testing.T) {
	g := newGlue(t)
	g.node.loop, g.heldLimit = postNow{g.node.loop}, maxHeld
	a := &answers{}
	hot := "h\x1b\xff"
	chunk := string(bytes.Repeat([]byte{0xff}, item.MaxKey+1)) + "k"
	g.tick()
	for i := range 10_000 {
		g.ask(a, item.OpGet, hot, "")
		g.ask(a, item.OpGet, fmt.Sprint(i), "")
		g.ask(a, item.OpGetAndTouch, "touched", "")
		g.ask(a, item.OpSet, "set", "v")
		g.ask(a, item.OpDelete, "set", "")
		g.ask(a, item.OpFlush, "", "")
		g.ask(a, item.OpGet, chunk, "")
		if i%1000 == 999 {
			g.time += 1e9
			g.tick()
		}
	}
	get := func(query string) (code int, hot control.HotKeys) {
		w := httptest.NewRecorder()
		g.serveHotKeys(w, httptest.NewRequest("GET", control.PathHotKeys+query, nil))
		if err := json.Unmarshal(w.Body.Bytes(), &hot); err != nil {
			t.Fatal(err)
		}
		return w.Code, hot
	}
	code, got := get("")
	if code != 200 || got.Every != 64 || len(got.Reads) != 2 || len(got.Writes) != 1 {
		t.Fatalf("%d %+v", code, got)
	}
	for i, want := range []control.HotKey{{Key: `"h\x1b\xff"`, Bytes: []byte(hot)}, {Key: `"touched"`, Bytes: []byte("touched")}, {Key: `"set"`, Bytes: []byte("set")}} {
		list := append(got.Reads[:2:2], got.Writes...)
		if i < 2 && list[0].Key != `"h\x1b\xff"` {
			list[0], list[1] = list[1], list[0] // they are asked for alike often
		}
		k, rate := list[i], 1000.0
		if i == 2 {
			rate = 2000
		}
		if k.Key != want.Key || !bytes.Equal(k.Bytes, want.Bytes) || k.Partition != 0 || k.PerSecond < rate/2 || k.PerSecond > 1.5*rate || k.Share < 0.2 {
			t.Errorf("%+v, want %s at about %.0f/s", k, want.Key, rate)
		}
	}
	if _, got := get("?n=1"); len(got.Reads) != 1 || len(got.Writes) != 1 {
		t.Errorf("%+v", got)
	}
	for _, query := range []string{"?n=0", "?n=x", "?n=-1"} {
		if code, _ := get(query); code != 400 {
			t.Errorf("%s: %d", query, code)
		}
	}
	g.time += 1e12
	g.tick()
	if code, got := get(""); code != 200 || len(got.Reads) != 0 || len(got.Writes) != 0 {
		t.Errorf("%d %+v", code, got)
	}
}

// Requests that this server refuses, because another one leads, are not counted.
func TestHotKeysOfAnotherPrimary(t *testing.T) {
	g := newGlue(t)
	next := *g.cmap
	next.Version++
	next.Partitions = slices.Clone(next.Partitions)
	next.Partitions[0].Epoch++
	next.Partitions[0].Replicas = []clustermap.ServerID{other, g.self}
	g.adopt(&next)
	a := &answers{}
	for range 10_000 {
		g.ask(a, item.OpGet, "k", "")
		g.turn()
	}
	if r := g.hot.Reads(9); a.naks != 10_000 || len(r) != 0 {
		t.Errorf("%d refused, %v", a.naks, r)
	}
}
