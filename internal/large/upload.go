package large

import (
	"bytes"
	"cmp"
	"crypto/rand"

	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/router"
)

// Window is how many chunks an Upload has under way at the most. Each is a write of
// its own, and they wait for disks at the same time.
const Window = 8

// Upload stores the chunks of one value, and before them the marker: so nothing of
// the value can be collected without the marker, however late the rest of it comes.
// When all are stored Stored is true, and the command itself can follow, with the
// manifest for its value.
type Upload struct {
	r       *router.Router
	key     []byte
	seg     item.Segment
	changed func()

	taken  int  // bytes given to Write
	under  int  // requests under way
	marked bool // the marker is stored
	stored bool
	failed *item.Result
	ended  bool
	keyBuf []byte
}

// NewUpload begins an upload for a value of size bytes under key, which it copies.
// changed is called when Ready, Stored or Failed may have changed, perhaps from
// within Write, but not before NewUpload has returned: look at them then.
func NewUpload(r *router.Router, key []byte, size int, changed func()) *Upload {
	u := &Upload{r: r, key: bytes.Clone(key), seg: item.Segment{Size: size, Chunk: item.ChunkSize}}
	_, _ = rand.Read(u.seg.ID[:]) // never fails
	u.under++
	u.keyBuf = item.AppendMarkerKey(u.keyBuf[:0], u.key, u.seg.ID)
	u.r.Do(&item.Request{Op: item.OpSet, Key: u.keyBuf}, u)
	u.changed = changed
	return u
}

// Ready tells whether Write may be called.
func (u *Upload) Ready() bool {
	return u.marked && u.under < Window && u.taken < u.seg.Size && u.failed == nil && !u.ended
}

// Write takes the next item.ChunkSize bytes of the value, or what remains of it. It
// copies them.
func (u *Upload) Write(p []byte) {
	i := u.taken / item.ChunkSize
	u.taken += len(p)
	u.under++
	u.keyBuf = item.AppendChunkKey(u.keyBuf[:0], u.key, u.seg.ID, i)
	u.r.Do(&item.Request{Op: item.OpSet, Key: u.keyBuf, Value: p}, u)
}

// Stored tells whether everything is there.
func (u *Upload) Stored() bool { return u.stored }

// Failed is why the value cannot be stored, or nil. What was stored of it will be
// collected, and no command was begun with it: so it is surely not done.
func (u *Upload) Failed() *item.Result { return u.failed }

// Manifest is the value of the command that may follow, with item.Large among its options.
func (u *Upload) Manifest() []byte { return item.AppendManifest(nil, []item.Segment{u.seg}) }

// End gives the upload up: changed is not called any more.
func (u *Upload) End() { u.ended = true }

// Done implements router.Completion for a chunk or the marker.
func (u *Upload) Done(res *item.Result) {
	u.under--
	if u.ended {
		return
	}
	switch {
	case res.Status != item.OK:
		if u.failed == nil {
			u.failed = failure(cmp.Or(res.Message, "a part of the value was not stored"))
		}
	case !u.marked:
		u.marked = true
	case u.taken == u.seg.Size && u.under == 0 && u.failed == nil:
		u.stored = true
	}
	if u.changed != nil {
		u.changed()
	}
}
