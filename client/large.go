package client

import (
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/large"
)

// Values beyond item.MaxWhole lie in chunks, each a command of its own. All of this
// runs on the loop.

// upload stores the value of a command before the command itself.
type upload struct {
	*large.Upload
	m    *command
	rest []byte
}

func (m *command) beginUpload() {
	up := &upload{m: m, rest: m.req.Value}
	m.up = up
	up.Upload = large.NewUpload(m.b.c.router, m.req.Key, len(up.rest), up.changed)
	up.changed()
}

func (up *upload) changed() {
	m := up.m
	if m.up != up {
		return
	}
	for m.up == up && up.Ready() {
		part := up.rest[:min(len(up.rest), item.ChunkSize)]
		up.rest = up.rest[len(part):]
		up.Write(part)
	}
	switch {
	case m.up != up:
	case up.Failed() != nil:
		m.up = nil
		m.finish(up.Failed())
	case up.Stored():
		m.up = nil
		m.req.Value, m.req.Options = up.Manifest(), m.req.Options|item.Large
		m.begin()
	}
}

// download reads the value that a command has found. It is its own large.Sink.
type download struct {
	m   *command
	d   *large.Download
	res item.Result
}

func (m *command) beginDownload(res *item.Result) {
	down := &download{m: m, res: *res}
	down.res.Item.Value = make([]byte, 0, res.Size)
	m.down = down
	down.d = large.NewDownload(m.b.c.router, m.req.Key, res.Item.Value, down)
	down.d.Resume()
}

// Part implements large.Sink.
func (down *download) Part(p []byte) {
	down.res.Item.Value = append(down.res.Item.Value, p...)
}

// Room implements large.Sink.
func (down *download) Room() bool { return true }

// End implements large.Sink.
func (down *download) End(failed *item.Result) {
	m := down.m
	m.down = nil
	if failed != nil {
		m.finish(m.unread(failed.Message))
		return
	}
	m.finish(&down.res)
}

// unread is the result of a command whose value could not be read: one that has
// touched the item must not be said not to have been done.
func (m *command) unread(message string) *item.Result {
	if m.req.Op == item.OpGet {
		return &item.Result{Status: item.Failed, Message: message}
	}
	return &item.Result{Status: item.FateUnknown, Message: message}
}
