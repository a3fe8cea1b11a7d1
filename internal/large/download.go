package large

import (
	"bytes"
	"cmp"
	"fmt"

	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/router"
)

// ahead is how many chunks a Download asks for before they are taken.
const ahead = 4

// MaxHeld is about what an Upload or a Download holds at the most, in bytes.
const MaxHeld = (Window + 1) * item.ChunkSize

// Sink takes the value of a Download.
type Sink interface {
	// Part takes the next bytes of the value, which are only lent. It may end the download.
	Part(p []byte)
	// Room tells whether more is to be asked for. When it was false and there is
	// room again, Download.Resume is to be called.
	Room() bool
	// End is called once, after the last part, or with why there is no more: Failed,
	// with a message.
	End(failed *item.Result)
}

// Download reads a value.
type Download struct {
	r    *router.Router
	key  []byte
	segs []item.Segment
	to   Sink
	err  error // why the manifest cannot be read

	seg, chunk int // what is asked for next
	window     [ahead]piece
	asked      int // pieces asked for, in all
	given      int // of them given to the sink
	pumping    bool
	ended      bool
	keyBuf     []byte
}

// piece is one that was asked for: a chunk, or what the manifest itself has.
type piece struct {
	d       *Download
	arrived bool
	size    int
	number  int
	data    []byte
	failed  *item.Result
}

// NewDownload makes one of the value of key that manifest lists, into to. It copies
// what it keeps. Resume begins it.
func NewDownload(r *router.Router, key, manifest []byte, to Sink) *Download {
	d := &Download{r: r, key: bytes.Clone(key), to: to}
	d.segs, d.err = item.ParseManifest(bytes.Clone(manifest))
	return d
}

func failure(message string) *item.Result {
	return &item.Result{Status: item.Failed, Message: message}
}

// End gives the download up: the sink is not called any more.
func (d *Download) End() { d.ended = true }

func (d *Download) end(failed *item.Result) {
	if !d.ended {
		d.ended = true
		d.to.End(failed)
	}
}

// Resume begins, and goes on when the sink has room again. The sink may be called
// before it returns.
func (d *Download) Resume() {
	if d.err != nil {
		d.end(failure(d.err.Error()))
	}
	if d.pumping {
		return // whoever pumps goes on
	}
	d.pumping = true
	for d.give() || d.ask() {
	}
	d.pumping = false
}

// give gives the sink the next piece, if it is there.
func (d *Download) give() bool {
	p := &d.window[d.given%ahead]
	switch {
	case d.ended:
		return false
	case d.given == d.asked:
		if d.seg == len(d.segs) {
			d.end(nil)
		}
		return false
	case !p.arrived:
		return false
	case p.failed != nil:
		d.end(p.failed)
		return false
	}
	d.given++
	data := p.data
	p.data = nil
	d.to.Part(data)
	return true
}

// ask asks for another piece, if there is one and room for it. When give has ended the
// download, the sink must not be asked any more.
func (d *Download) ask() bool {
	if d.ended || d.seg == len(d.segs) || d.asked-d.given == ahead || !d.to.Room() {
		return false
	}
	p := &d.window[d.asked%ahead]
	d.asked++
	s := &d.segs[d.seg]
	*p = piece{d: d}
	if s.Inline != nil {
		p.arrived, p.data = true, s.Inline
		d.seg++
		return true
	}
	p.number, p.size = d.chunk, min(s.Chunk, s.Size-d.chunk*s.Chunk)
	d.keyBuf = item.AppendChunkKey(d.keyBuf[:0], d.key, s.ID, d.chunk)
	if d.chunk++; d.chunk == s.Chunks() {
		d.seg, d.chunk = d.seg+1, 0
	}
	d.r.Do(&item.Request{Op: item.OpGet, Options: item.NoBump, Key: d.keyBuf}, p)
	return true
}

// Done implements router.Completion for a chunk.
func (p *piece) Done(res *item.Result) {
	d := p.d
	if d.ended {
		return
	}
	p.arrived = true
	switch {
	case res.Status == item.NotFound:
		p.failed = failure("the value was replaced or removed while it was being read")
	case res.Status != item.OK:
		p.failed = failure(cmp.Or(res.Message, "a part of the value could not be read"))
	case len(res.Item.Value) != p.size:
		p.failed = failure(fmt.Sprintf("part %d of the value has %d bytes, not %d", p.number, len(res.Item.Value), p.size))
	default:
		p.data = res.Item.Value
		if !d.pumping && p == &d.window[d.given%ahead] {
			d.pumping = true
			d.give() // without a copy
			d.pumping = false
		} else {
			p.data = bytes.Clone(p.data)
		}
	}
	d.Resume()
}
