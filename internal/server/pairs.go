package server

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/store"
)

// maxPairs bounds what pairs lists.
const maxPairs = 10000

// partition is the one that a request names; false: it was answered.
func partition(w http.ResponseWriter, query url.Values) (uint16, bool) {
	p := query.Get("partition")
	i, err := strconv.ParseUint(p, 10, 16)
	if err != nil || i >= clustermap.MaxPartitions {
		httpError(w, http.StatusBadRequest, "%q is not the number of a partition", p)
		return 0, false
	}
	return uint16(i), true
}

// pairs adds what this store holds of one partition, by quoted key, and how far:
// what tells apart two copies whose checksums differ.
func (n *node) pairs(ctx context.Context, part uint16, values map[string]any) error {
	sn := n.store.Snapshot()
	defer sn.Close()
	b, err := sn.Bookkeeping(part)
	if err != nil {
		return err
	}
	values["position"] = versionText(b.Position.Version)
	if b.Position.Unfinished {
		values["position"] = "none, a copy into this store has not ended"
	}
	if b.Flushed != (store.Flushed{}) {
		values["flushed"] = fmt.Sprintf("%s at %d", versionText(b.Flushed.Version), b.Flushed.At)
	}
	it := sn.Iter(part, nil)
	for count := 0; it.Next(); count++ {
		if count == maxPairs {
			values["more"] = fmt.Sprintf("these are the first %d", maxPairs)
			break
		}
		var rec []byte
		var i item.Item
		if err = ctx.Err(); err == nil {
			rec, err = it.Record()
		}
		if err == nil {
			i, err = item.ParseRecord(rec)
		}
		if err != nil {
			_ = it.Close() // the first error says more
			return err
		}
		values[keyText(it.Key())] = fmt.Sprintf("%s expires %d flags %d bytes %d", versionText(i.Version), i.Exptime, i.Flags, i.Size())
	}
	return it.Close()
}

// keyText is a key as people read it: of the chunks of a large value, whose it is.
func keyText(key []byte) string {
	user, id, i, ok := item.ParseChunkKey(key)
	switch {
	case !ok:
		return strconv.Quote(string(key))
	case i < 0:
		return fmt.Sprintf("%q upload %x marker", user, id)
	}
	return fmt.Sprintf("%q upload %x chunk %d", user, id, i)
}

// versionText is a version as people read it.
func versionText(v uint64) string {
	return fmt.Sprintf("epoch %d seq %d", v>>clustermap.SeqBits, v&(1<<clustermap.SeqBits-1))
}
