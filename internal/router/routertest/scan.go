package routertest

import (
	"bytes"
	"maps"
	"slices"
	"strings"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/wire"
)

// scan answers a scan from the store, of a cluster with Partitions partitions.
func (h *conn) scan(body []byte) {
	var q wire.Scan
	if err := wire.DecodeScan(bytes.Clone(body), &q); err != nil {
		panic(err)
	}
	h.s.Scans++
	if h.s.ScanScript != nil && h.s.ScanScript(&q, h.c.Append) {
		return
	}
	page := h.s.Page(&q)
	h.c.Append(func(b []byte) []byte { return wire.AppendPage(b, &page) })
}

// Page is the answer to a scan.
func (s *Server) Page(q *wire.Scan) wire.Page {
	p := wire.Page{ID: q.ID}
	size := 0
	for _, key := range slices.Sorted(maps.Keys(s.Store.Items)) {
		it := s.Store.Items[key]
		if key < string(q.From) || !strings.HasPrefix(key, string(q.Prefix)) || it.Expired(s.Store.Now) ||
			clustermap.PartitionOf([]byte(key), s.Partitions) != q.Partition {
			continue
		}
		e := wire.PageItem{Key: []byte(key), Flags: it.Flags, Exptime: it.Exptime, CAS: it.CAS(), Length: uint32(len(it.Value))}
		if !q.KeysOnly {
			e.Value = it.Value
		}
		if q.MaxBytes > 0 && size+e.Size() > int(q.MaxBytes) && len(p.Items) == 0 {
			e.Value, e.Omitted = nil, true
		} else if q.MaxBytes > 0 && size+e.Size() > int(q.MaxBytes) || q.MaxItems > 0 && len(p.Items) == int(q.MaxItems) {
			p.More, p.Next = true, []byte(key)
			break
		}
		size += e.Size()
		p.Items = append(p.Items, e)
	}
	return p
}

// Append appends anything to the connection that the request came on.
func (t *Try) Append(fn func(dst []byte) []byte) { t.conn.c.Append(fn) }
