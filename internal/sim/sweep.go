package sim

import (
	"maps"
	"slices"

	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/replica"
	"github.com/kumofs/kumofs/internal/wire"
)

// sweep looks through one partition that this server serves and asks for what
// has expired or was flushed, which deletes it (R11). What the look finds may
// be out of date when it is asked for.
func (s *Server) sweep() {
	w := s.w
	if !w.faults {
		return
	}
	w.after(w.between(200*millisecond, 800*millisecond), s.sweep)
	if !s.up || len(s.replicas) == 0 {
		return
	}
	p := w.rng.IntN(len(s.replicas))
	for range s.replicas {
		if s.replicas[p].Serving() {
			s.look(p)
			return
		}
		p = (p + 1) % len(s.replicas)
	}
}

// look sweeps one partition.
func (s *Server) look(p int) {
	w, r := s.w, s.replicas[p]
	if !r.Serving() {
		return
	}
	ripe := s.ripe(r.Part())
	part, flushed, now := r.Part(), r.Flush().Version, s.unix()
	s.after(w.often(0, 5*millisecond, 300*millisecond, 0.1), func() {
		src := s.disk.snapshot(part)
		var keys []string
		for _, k := range slices.Sorted(maps.Keys(src.records)) {
			if it := src.item(k); !item.IsChunk([]byte(k)) && (it.Version < flushed || it.Expired(now)) {
				keys = append(keys, k)
			}
		}
		uploads := src.uploads()
		s.after(w.often(0, 2*millisecond, 300*millisecond, 0.1), func() {
			if len(keys)+len(uploads) == 0 || !r.Serving() {
				return
			}
			w.stats["keys swept"] += len(keys)
			s.turn(func() {
				s.collect(r, uploads, ripe)
				for _, k := range keys {
					req := wire.Request{Partition: part, Epoch: r.Config().Epoch, Request: item.Request{Op: item.OpGet, Key: []byte(k)}}
					r.Request(&req, replica.Token{}, &s.fx)
				}
			})
		})
	})
}
