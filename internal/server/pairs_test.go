package server

import (
	"encoding/json"
	"maps"
	"net/http/httptest"
	"testing"

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/store"
)

func TestPairs(t *testing.T) {
	g := newGlue(t)
	b := g.store.NewBatch()
	b.PutItem(3, []byte("key"), &item.Item{Version: 5<<40 | 17, Exptime: 1234, Flags: 2, Value: []byte("value")})
	b.PutItem(3, []byte("\xff\n"), &item.Item{Version: 5<<40 | 18})
	id := item.UploadID{1, 2}
	b.PutItem(3, []byte("large"), &item.Item{Version: 20, Large: true, Value: item.AppendManifest(nil, []item.Segment{{ID: id, Size: 9, Chunk: 8}})})
	b.PutItem(3, item.AppendMarkerKey(nil, []byte("large"), id), &item.Item{Version: 21})
	b.PutItem(3, item.AppendChunkKey(nil, []byte("large"), id, 1), &item.Item{Version: 22, Value: []byte("9")})
	b.SetPosition(3, store.Position{Version: 6<<40 | 19})
	b.SetFlushed(3, 5<<40|1, 99)
	b.SetPosition(4, store.Position{Version: 6 << 40, Unfinished: true})
	if err := g.store.Commit(b); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]map[string]any{
		"3": {
			"position": "epoch 6 seq 19", "flushed": "epoch 5 seq 1 at 99",
			`"key"`:    "epoch 5 seq 17 expires 1234 flags 2 bytes 5",
			`"\xff\n"`: "epoch 5 seq 18 expires 0 flags 0 bytes 0",
			`"large"`:  "epoch 0 seq 20 expires 0 flags 0 bytes 9",
			`"large" upload 01020000000000000000000000000000 marker`:  "epoch 0 seq 21 expires 0 flags 0 bytes 0",
			`"large" upload 01020000000000000000000000000000 chunk 1`: "epoch 0 seq 22 expires 0 flags 0 bytes 1",
		},
		"4":  {"position": "none, a copy into this store has not ended"},
		"x":  nil,
		"":   nil,
		"-1": nil,
	} {
		w := httptest.NewRecorder()
		g.serveStat(w, httptest.NewRequest("GET", control.PathStat+"?key=pairs&partition="+query, nil))
		var got control.StatResponse
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || !maps.Equal(got.Values, want) || (w.Code == 200) != (want != nil) {
			t.Errorf("partition %q: %d %s", query, w.Code, w.Body)
		}
	}
}
