package server

import (
	"net/http"
	"strconv"
	"time"

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/hotkeys"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/wire"
)

const (
	// ageEvery is how often the weights of hot keys shrink, in ns.
	ageEvery = int64(time.Second)
	// hotKeysUsual is how many are told to who does not say how many.
	hotKeysUsual = 20
)

// sample looks at one request of many: what is asked for most often. Requests that another server has
// to answer are left out, and so are chunks of large values: their keys are nobody's.
func (n *node) sample(req *wire.Request) {
	served := n.replicas[req.Partition].Serving() && !item.IsChunk(req.Key)
	switch {
	case !served || req.Op == item.OpFlush || req.Op == item.OpOpenSession:
		n.hot.Pass()
	case req.Op.Retrieves():
		n.hot.Read(req.Partition, req.Key)
	default:
		n.hot.Write(req.Partition, req.Key)
	}
}

// ageHotKeys is called on every tick.
func (n *node) ageHotKeys() {
	if passed := n.rn.Now - n.hotAt; n.hotAt == 0 {
		n.hotAt = n.rn.Now
	} else if passed >= ageEvery {
		n.hotAt = n.rn.Now
		n.hot.Age(float64(passed) / float64(time.Second))
	}
}

// serveHotKeys tells what this server is asked for most.
func (n *node) serveHotKeys(w http.ResponseWriter, req *http.Request) {
	most := hotKeysUsual
	if text := req.URL.Query().Get("n"); text != "" {
		var err error
		if most, err = strconv.Atoi(text); err != nil || most < 1 {
			httpError(w, http.StatusBadRequest, "%q is not a number of keys", text)
			return
		}
	}
	var reads, writes []hotkeys.Key
	if err := n.onLoop(req.Context(), func() { reads, writes = n.hot.Reads(most), n.hot.Writes(most) }); err != nil {
		httpError(w, http.StatusServiceUnavailable, "%v", err)
		return
	}
	writeJSON(w, http.StatusOK, control.HotKeys{Every: hotkeys.Every, Reads: told(reads), Writes: told(writes)})
}

func told(keys []hotkeys.Key) []control.HotKey {
	out := make([]control.HotKey, len(keys))
	for i, k := range keys {
		out[i] = control.HotKey{Key: strconv.Quote(string(k.Key)), Bytes: k.Key, Partition: k.Partition, PerSecond: k.PerSecond, Share: k.Share}
	}
	return out
}
