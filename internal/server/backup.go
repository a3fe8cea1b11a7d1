package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/kumofs/kumofs/internal/backup"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/replica"
	"github.com/kumofs/kumofs/internal/store"
	"github.com/kumofs/kumofs/internal/wire"
)

// Whoever makes a backup of the cluster asks for one partition at a time
// (control.PathBackup). The partition's primary takes a snapshot, has it judged as a page of a
// scan is (replica.Scan): what was acknowledged before the request is in it, and what is in it
// is committed. From then on nobody can take it back, so it is sent as quickly as
// --replace-rate and the reader allow, whoever becomes the partition's primary meanwhile.
const (
	// maxBackups is how many snapshots are sent at a time.
	maxBackups = 8
	// backupJudged bounds how long a snapshot waits to be judged, backupStalled how long a
	// reader may take for a block.
	backupJudged  = 10 * time.Second
	backupStalled = 2 * time.Minute
	// backupSilence is for how long nothing may be sent: kumoctl waits for more.
	backupSilence = 5 * time.Second
)

// backups are the snapshots that are being sent.
type backups struct {
	n       *node
	running atomic.Int32
}

// judged is a snapshot's place in the core. It is the Owner of its token.
type judged struct {
	scan replica.Scan
	done chan any // a *wire.Reply or a *wire.Nak, once
}

// Reply and Nak are called on the loop, once in all.
func (j *judged) Reply(r *wire.Reply) {
	copied := *r
	copied.Item = item.Item{}
	j.done <- &copied
}

// Nak refuses.
func (j *judged) Nak(k *wire.Nak) { j.done <- k }

func (b *backups) serve(w http.ResponseWriter, req *http.Request) {
	part, ok := partition(w, req.URL.Query())
	if !ok {
		return
	}
	epoch, err := strconv.ParseUint(req.URL.Query().Get("epoch"), 10, 32)
	if err != nil {
		httpError(w, http.StatusBadRequest, "%q is not an epoch", req.URL.Query().Get("epoch"))
		return
	}
	defer b.running.Add(-1)
	if b.running.Add(1) > maxBackups {
		httpError(w, http.StatusServiceUnavailable, "%d partitions are being sent; ask again", maxBackups)
		return
	}
	limit := http.NewResponseController(w)
	_ = limit.SetReadDeadline(time.Now().Add(backupJudged)) // fails if it cannot be set
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, backup.MaxRequest))
	if err != nil {
		httpError(w, http.StatusBadRequest, "the request cannot be read: %v", err)
		return
	}
	_ = limit.SetReadDeadline(time.Time{})
	asked, err := backup.DecodeRequest(body)
	if err != nil {
		httpError(w, http.StatusBadRequest, "the request cannot be read: %v", err)
		return
	}
	sn, s, refused := b.take(req.Context(), part, uint32(epoch))
	if refused != "" {
		httpError(w, http.StatusServiceUnavailable, "partition %d: %s", part, refused)
		return
	}
	if sn != nil {
		defer sn.Close()
	}
	b.send(w, req, part, asked, sn, s)
}

// taken is a snapshot that was judged.
type taken struct {
	scan     *replica.Scan
	position uint64
	flush    wire.Flush
}

// take takes a snapshot in which is everything that was acknowledged before, and nothing that could
// be undone. It is nil where nothing was ever written. refused is why there is none.
func (b *backups) take(ctx context.Context, part uint16, epoch uint32) (sn *store.Snapshot, s taken, refused string) {
	n := b.n
	ctx, cancel := context.WithTimeout(ctx, backupJudged)
	defer cancel()
	j := &judged{done: make(chan any, 1)}
	begun := false
	err := n.onLoop(ctx, func() {
		n.touchClock()
		if int(part) < len(n.replicas) && n.held <= n.heldLimit {
			j.scan, begun = n.replicas[part].BeginScan(epoch, replica.Token{Owner: j}, &n.fx)
		} else {
			j.Nak(&wire.Nak{Index: part, Reason: wire.NakNotReady})
		}
	})
	if err != nil {
		return nil, s, "no answer in time"
	}
	var failed error
	if begun {
		s.scan = &j.scan
		if !j.scan.Empty {
			sn = n.store.Snapshot()
			var book store.Bookkeeping
			book, failed = sn.Bookkeeping(part)
			s.position, s.flush = book.Position.Version, wire.Flush{Version: book.Flushed.Version, At: book.Flushed.At}
		}
		err = n.onLoop(ctx, func() {
			n.touchClock()
			if failed != nil {
				n.unreadable(part, failed)
			}
			j.scan.Done(nil, s.position, s.flush, failed, &n.fx)
		})
	}
	if err == nil {
		select {
		case answer := <-j.done:
			switch a := answer.(type) {
			case *wire.Reply:
				if a.Status == item.OK {
					return sn, s, ""
				}
				refused = a.Message
			case *wire.Nak:
				refused = "this server is not its primary, or not ready to be"
			}
		case <-ctx.Done():
			err = ctx.Err()
		case <-n.ctx.Done():
			err = n.ctx.Err()
		}
	}
	if err != nil {
		refused = "no answer in time"
	}
	if sn != nil {
		_ = sn.Close() // it was only read
	}
	return nil, s, refused
}

// send sends the section. An error ends the connection in the middle of it: the reader
// finds that it has no end.
func (b *backups) send(w http.ResponseWriter, req *http.Request, part uint16, asked *backup.Request, sn *store.Snapshot, s taken) {
	n, ctx := b.n, req.Context()
	w.Header().Set("Content-Type", "application/octet-stream")
	out := http.NewResponseController(w)
	var block []byte
	last := time.Now()
	write := func(kind backup.BlockKind, payload []byte) error {
		block = backup.AppendBlock(block[:0], kind, payload, nil)
		if err := n.copies.paced(ctx, len(block)); err != nil {
			return err
		}
		if err := out.SetWriteDeadline(time.Now().Add(backupStalled)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		_, err := w.Write(block)
		n.counters.backupBytes.Add(uint64(len(block)))
		last = time.Now()
		return err
	}
	builder := backup.NewBuilder(write)
	err := builder.Begin(&backup.Section{Partition: part, Version: s.position, Since: asked.Since, Whole: len(asked.Ranges) == 0, Taken: time.Now()})
	if err == nil && sn == nil {
		builder.Sums.Pairs, builder.Sums.Digest = new(backup.Digest).Sum()
	}
	if err == nil && (sn != nil || len(asked.Ranges) > 0) {
		visible := func(it *item.Item) bool {
			if time.Since(last) > backupSilence { // who asks gives up on one that says nothing
				if write(backup.BlockEntries, nil) == nil {
					_ = out.Flush() // a connection that has ended is found by the next block
				}
				last = time.Now()
			}
			return !s.scan.Flushed(it.Version, s.flush) && !it.Expired(s.scan.Unix)
		}
		var pairs int64
		var digest uint64
		if pairs, digest, err = exported(ctx, sn, part, visible, asked, builder.Add); err == nil {
			builder.Sums.Pairs, builder.Sums.Digest = pairs, digest
		}
	}
	if err == nil {
		err = builder.End()
	}
	if err == nil {
		err = out.SetWriteDeadline(time.Time{}) // the next request is another's
	}
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		if ctx.Err() == nil {
			n.log.Info("a partition was not sent to the backup", "partition", part, "to", req.RemoteAddr, "err", err)
		}
		panic(http.ErrAbortHandler) // the connection is closed, so that nobody takes it for the end
	}
}

// exported is backup.Export, also where nothing was ever written: then there is no snapshot.
func exported(ctx context.Context, sn *store.Snapshot, part uint16, visible func(*item.Item) bool, asked *backup.Request, emit func(*backup.Entry) error) (int64, uint64, error) {
	if sn != nil {
		return backup.Export(ctx, sn, part, visible, asked, emit)
	}
	for i := range asked.Ranges {
		if asked.Ranges[i].Pairs == 0 {
			continue
		}
		e := backup.Entry{Kind: backup.Range, Key: asked.Ranges[i].Start}
		if i+1 < len(asked.Ranges) {
			e.End = asked.Ranges[i+1].Start
		}
		if err := emit(&e); err != nil {
			return 0, 0, err
		}
	}
	pairs, digest := new(backup.Digest).Sum()
	return pairs, digest, nil
}

// paced waits until n bytes more may be sent: --replace-rate is for all that servers send besides answers.
func (c *copier) paced(ctx context.Context, n int) error {
	for n > 0 && c.limit.Limit() != rate.Inf {
		step := min(n, max(1, int(c.limit.Limit()/10)))
		if err := c.limit.WaitN(ctx, step); err != nil {
			return err
		}
		n -= step
	}
	return nil
}
