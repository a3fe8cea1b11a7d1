package sim

import (
	"bytes"
	"encoding/binary"

	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/planted"
)

// Large values at a gateway: it does with chunks what internal/large does. Their
// contents are as short as any, so that histories are of whole values.

// spill stands in values, as clients see them, for a piece that is too long to lie
// in a manifest: what adds it to a large value makes chunks (item.Chunk).
const spill = '~'

var spilled = bytes.Repeat([]byte{spill}, item.ChunkSize+5000)

// long is a value as it is sent.
func long(v []byte) []byte {
	if bytes.IndexByte(v, spill) < 0 {
		return v
	}
	return bytes.ReplaceAll(v, []byte{spill}, spilled)
}

// short is a value as clients see it. What is only a part of a long piece stays as it is.
func short(v []byte) []byte {
	if len(v) < len(spilled) {
		return v
	}
	return bytes.ReplaceAll(v, spilled, []byte{spill})
}

// upload is a command whose value is stored in chunks before it.
type upload struct {
	g      *gateway
	client int
	req    item.Request
	seg    item.Segment
	// stop is the step with which it is given up.
	stop int
	done func()
}

// upload has a client give a command whose value lies in chunks.
func (g *gateway) upload(client int, req item.Request, done func()) {
	u := g.newUpload(client, req, done)
	if g.rng.IntN(8) == 0 {
		u.stop = g.rng.IntN(u.seg.Chunks() + 2)
	}
	u.step(0)
}

func (g *gateway) newUpload(client int, req item.Request, done func()) *upload {
	w := g.w
	w.storing++
	u := &upload{g: g, client: client, req: req, stop: -1, done: func() {
		w.storing--
		done()
	}}
	u.seg = item.Segment{Size: len(req.Value), Chunk: 3 + g.rng.IntN(5)}
	binary.BigEndian.PutUint64(u.seg.ID[:], g.rng.Uint64())
	binary.BigEndian.PutUint64(u.seg.ID[8:], g.rng.Uint64())
	w.uploads[u.seg.ID] = string(req.Value)
	return u
}

// step stores the marker, then the chunks one after another, then gives the command.
// Between two of them as much time may pass as it takes to collect what is there.
func (u *upload) step(i int) {
	w := u.g.w
	if i > 0 && w.faults {
		w.after(w.often(0, 5*millisecond, 6*second, 0.05), func() { u.write(i) })
		return
	}
	u.write(i)
}

func (u *upload) write(i int) {
	g, n := u.g, u.seg.Chunks()
	if i == n+1 {
		if u.stop == i {
			u.done()
			return
		}
		c := g.newCall(u.client, u.req)
		c.up, c.done = &u.seg, u.done
		c.send()
		return
	}
	req := item.Request{Op: item.OpSet}
	k := i
	if planted.Is(planted.MarkerLast) {
		k = (i + 1) % (n + 1)
	}
	if k == 0 {
		req.Key = item.AppendMarkerKey(nil, u.req.Key, u.seg.ID)
	} else {
		req.Key = item.AppendChunkKey(nil, u.req.Key, u.seg.ID, k-1)
		req.Value = u.req.Value[(k-1)*u.seg.Chunk : min(k*u.seg.Chunk, u.seg.Size)]
	}
	g.w.stats["chunks and markers"]++
	g.piece(u.client, req, func(res item.Result, how outcome) {
		switch {
		case u.stop == i:
		case how != answered || res.Status != item.OK:
			u.done() // the command is not begun
		default:
			u.step(i + 1)
		}
	})
	if u.stop == i {
		u.done() // whether it was stored nobody asks
	}
}

// piece gives a command of which no history is kept.
func (g *gateway) piece(client int, req item.Request, ended func(item.Result, outcome)) {
	c := g.newCall(client, req)
	c.piece, c.ended = true, ended
	c.send()
}

// sent is the command as it goes to a server.
func (c *call) sent() item.Request {
	req := c.req
	req.Value = long(req.Value)
	if c.up != nil {
		req.Value = item.AppendManifest(nil, []item.Segment{*c.up})
		req.Options |= item.Large
	}
	return req
}

// assemble reads the chunks of the value that c has found, and then ends c.
func (c *call) assemble(res item.Result) {
	g, w := c.g, c.g.w
	c.try++
	c.at = nil
	segs, err := item.ParseManifest(res.Item.Value)
	if err != nil {
		w.fail(codec, "the manifest of key %s: %v", c.req.Key, err)
		return
	}
	res.Item.Value = nil
	var next func(chunk int)
	next = func(chunk int) {
		for len(segs) > 0 && segs[0].Inline != nil {
			res.Item.Value = append(res.Item.Value, segs[0].Inline...)
			segs = segs[1:]
		}
		if len(segs) == 0 {
			w.stats["large values read"]++
			res.Item.Value = short(res.Item.Value)
			c.end(res, answered)
			return
		}
		s := segs[0]
		req := item.Request{Op: item.OpGet, Options: item.NoBump, Key: item.AppendChunkKey(nil, c.req.Key, s.ID, chunk)}
		g.piece(c.client, req, func(r item.Result, how outcome) {
			switch {
			case how != answered:
				c.end(res, torn)
				return
			case r.Status != item.OK:
				c.missed(s.ID)
				c.end(res, torn)
				return
			}
			res.Item.Value = append(res.Item.Value, r.Item.Value...)
			if chunk++; chunk == s.Chunks() {
				segs, chunk = segs[1:], 0
			}
			if !w.faults {
				next(chunk)
				return
			}
			w.after(w.often(0, millisecond, 3*second, 0.02), func() { next(chunk) })
		})
	}
	next(0)
}

// missed: a chunk of what c has found is not there. So since c began the value was
// replaced or removed, and the grace has passed; and no item lists it again.
func (c *call) missed(id item.UploadID) {
	w := c.g.w
	w.stats["chunks missed"]++
	if took := w.now - c.began; !w.opt.Hasty && float64(took) < float64(replacedGrace)/maxRate {
		w.fail(listedThere, "key %s: %s found an upload %.3f s ago, of which a chunk is missing now", c.req.Key, describe(&c.req), float64(took)/1e9)
	}
	c.g.piece(c.client, item.Request{Op: item.OpGet, Key: c.req.Key}, func(res item.Result, how outcome) {
		if how == answered && res.Status == item.OK && res.Item.Lists(id) {
			w.fail(listedThere, "key %s lists an upload of which a chunk is missing", c.req.Key)
		}
	})
}
