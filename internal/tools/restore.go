package tools

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/kumofs/kumofs/internal/backup"
	"github.com/kumofs/kumofs/internal/item"
)

const (
	// restoreWorkers is how many partitions are written at a time, restoreBatch and
	// restoreBytes how many pairs of each, and bytes.
	restoreWorkers = 8
	restoreBatch   = 128
	restoreBytes   = 1 << 20
	// restorePatience is how long a pair may fail before all is given up.
	restorePatience = time.Minute
)

// restoreRun is one run of restore.
type restoreRun struct {
	from  *backup.Reader
	link  *link
	op    item.Op
	quiet bool // keys that are there are kept, and that is no error
	limit *rate.Limiter
	prog  *progress

	mu    sync.Mutex
	next  int // partition
	stats restoreStats
}

// restoreStats is what a restore has done.
type restoreStats struct {
	Restored int64 `json:"restored"`
	Bytes    int64 `json:"bytes"`
	// Kept are keys that the cluster had and that were left as they were.
	Kept    int64 `json:"kept"`
	Expired int64 `json:"expired"`
	// conflict is one of Kept.
	conflict string
}

// restore writes all pairs of a backup into the cluster.
func (c *ctl) restore(ctx context.Context, dir string, o *backupOptions) error {
	began := c.now()
	from, err := backup.Open(dir)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	r := &restoreRun{from: from, op: item.OpAdd, quiet: o.keep, limit: newLimit(o.rate)}
	if o.overwrite {
		r.op = item.OpSet
	}
	if r.link, err = openLink(ctx, c.client.Addrs, c.secret); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	defer r.link.close()
	if !o.overwrite && !o.keep {
		empty, err := r.link.empty(ctx)
		if err == nil && !empty {
			err = errors.New("the cluster holds pairs already, and nothing was done. With --keep its own stay as they are and " +
				"what it lacks is added; with --overwrite the backup's take the place of its own")
		}
		if err != nil {
			return fmt.Errorf("restore: %w", err)
		}
	}
	m := from.Manifest
	r.prog = newProgress(c.progressTo(o), c.terminal(), "restore", 0, m.Partitions)
	err = r.run(ctx)
	r.prog.end()
	s := &r.stats
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("restore: interrupted after %s; the same command with --keep goes on with what is missing", plural(s.Restored, "pair"))
	case err != nil:
		return fmt.Errorf("restore: %w; %s were restored. Give the command again with --keep to go on with what is missing", err, plural(s.Restored, "pair"))
	}
	took := c.now().Sub(began)
	if c.json {
		if err := WriteJSON(c.out, map[string]any{"backup": dir, "id": m.ID, "restored": s.Restored, "bytes": s.Bytes, "kept": s.Kept, "expired": s.Expired, "seconds": took.Seconds()}); err != nil {
			return err
		}
	} else {
		c.sayRestored(s, m, took)
	}
	if s.Kept > 0 && !r.quiet {
		return fmt.Errorf("restore: somebody has written to the cluster meanwhile: %s (one is %q) were not restored. --overwrite has the backup's take their place, --keep leaves them", plural(s.Kept, "key"), s.conflict)
	}
	return nil
}

// sayRestored tells a person what was restored.
func (c *ctl) sayRestored(s *restoreStats, m *backup.Manifest, took time.Duration) {
	fmt.Fprintf(c.out, "restored %s (%s) of the backup of %s in %v\n", plural(s.Restored, "pair"), showBytes(uint64(s.Bytes)), m.Began.Local().Format(time.DateTime), took.Round(10*time.Millisecond))
	if s.Kept > 0 {
		fmt.Fprintf(c.out, "%s were there already and are as they were\n", plural(s.Kept, "key"))
	}
	if s.Expired > 0 {
		fmt.Fprintf(c.out, "%s have expired since and were left out\n", plural(s.Expired, "pair"))
	}
}

// run restores all partitions.
func (r *restoreRun) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for range restoreWorkers {
		wg.Go(func() {
			for part, ok := r.take(); ok; part, ok = r.take() {
				w := &restorer{r: r, ctx: ctx, began: time.Now()}
				if err := w.partition(part); err != nil {
					cancel(err)
					return
				}
				r.prog.partition()
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

func (r *restoreRun) take() (uint16, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == r.from.Manifest.Partitions {
		return 0, false
	}
	r.next++
	return uint16(r.next - 1), true
}

// restorer restores a partition.
type restorer struct {
	r     *restoreRun
	ctx   context.Context
	began time.Time
	batch []restored
	bytes int
	large []byte // the next bytes of a large value
}

// restored is a pair on its way.
type restored struct {
	req    item.Request
	size   int // of key and value
	stale  bool
	unsure bool // it may have been stored by a try of which nothing is known
	cas    uint64
}

func (w *restorer) partition(part uint16) error {
	p, err := w.r.from.Pairs(part)
	if err != nil {
		return err
	}
	defer p.Close()
	var e backup.Entry
	for {
		err := p.Next(&e)
		if errors.Is(err, io.EOF) {
			return w.flush()
		}
		if err == nil {
			err = w.pair(p, &e)
		}
		if err != nil {
			return err
		}
	}
}

// pair takes a pair; e is used for the parts of a large value.
func (w *restorer) pair(p *backup.Pairs, e *backup.Entry) error {
	if e.Exptime != 0 && e.Exptime <= time.Now().Unix() {
		w.count(func(s *restoreStats) { s.Expired++ })
		if e.Kind == backup.Large {
			_, err := w.read(p, e, int(e.Length), nil)
			return err
		}
		return nil
	}
	req := item.Request{Op: w.r.op, Key: bytes.Clone(e.Key), Flags: e.Flags, Exptime: e.Exptime}
	if e.Unique != 0 {
		req.Options, req.Unique = item.Explicit, e.Unique
	}
	one := restored{req: req, stale: e.Stale, size: len(e.Key) + int(e.Length)}
	if err := spend(w.ctx, w.r.limit, one.size); err != nil {
		return err
	}
	w.r.prog.add(one.size)
	switch {
	case e.Kind == backup.Pair:
		one.req.Value = append(make([]byte, 0, len(e.Value)), e.Value...)
	case e.Length <= item.MaxWhole:
		value, err := w.read(p, e, int(e.Length), make([]byte, 0, e.Length))
		if err != nil {
			return err
		}
		one.req.Value = value
	default:
		return w.pairOfParts(p, e, one)
	}
	w.batch, w.bytes = append(w.batch, one), w.bytes+one.size
	if len(w.batch) >= restoreBatch || w.bytes >= restoreBytes {
		return w.flush()
	}
	return nil
}

// read reads n bytes of a value in parts; into nil it reads and forgets them.
func (w *restorer) read(p *backup.Pairs, e *backup.Entry, n int, into []byte) ([]byte, error) {
	for read := 0; read < n; read += len(e.Value) {
		if err := p.Next(e); err != nil {
			return nil, err
		}
		if into != nil {
			into = append(into, e.Value...)
		}
	}
	return into, nil
}

// pairOfParts restores a pair whose value is stored in chunks, which are read as they are sent.
func (w *restorer) pairOfParts(p *backup.Pairs, e *backup.Entry, one restored) error {
	if err := w.flush(); err != nil {
		return err
	}
	w.large = w.large[:0]
	left := int(e.Length)
	var buf []byte
	manifest, failed, err := w.r.link.upload(w.ctx, one.req.Key, left, func(n int) ([]byte, error) {
		for len(w.large) < n {
			if err := p.Next(e); err != nil {
				return nil, err
			}
			w.large = append(w.large, e.Value...)
		}
		buf = append(buf[:0], w.large[:n]...)
		w.large = w.large[:copy(w.large, w.large[n:])]
		return buf, nil
	})
	if failed != nil {
		// What was read cannot be read again from here: the whole restore can.
		return fmt.Errorf("the value of key %q (%s) could not be stored: %s", one.req.Key, showBytes(uint64(left)), failed.Message)
	}
	if err != nil {
		return err
	}
	one.req.Value, one.req.Options = manifest, one.req.Options|item.Large
	w.batch = append(w.batch, one)
	return w.flush()
}

// flush sends the batch, what fails again and again.
func (w *restorer) flush() error {
	batch := w.batch
	w.batch, w.bytes = nil, 0
	var failing time.Time
	for len(batch) > 0 {
		reqs := make([]item.Request, len(batch))
		for i := range batch {
			reqs[i] = batch[i].req
		}
		results, err := w.r.link.do(w.ctx, reqs)
		if err != nil {
			return err
		}
		var again, stale []restored
		var why string
		for i := range batch {
			one, res := &batch[i], &results[i]
			switch {
			case res.Status == item.OK:
				one.cas = res.Item.CAS()
				if one.stale {
					stale = append(stale, *one)
				}
				w.count(func(s *restoreStats) { s.Restored++; s.Bytes += int64(one.size) })
			case res.Status == item.NotStored && one.unsure:
				// Most likely by the try before.
				w.count(func(s *restoreStats) { s.Restored++; s.Bytes += int64(one.size) })
			case res.Status == item.NotStored:
				w.count(func(s *restoreStats) { s.Kept++; s.conflict = string(one.req.Key) })
			case res.Status.Unsure():
				one.unsure = one.unsure || res.Status == item.FateUnknown
				again, why = append(again, *one), res.Message
			default:
				return fmt.Errorf("key %q could not be stored: status %d %s", one.req.Key, res.Status, res.Message)
			}
		}
		if err := w.mark(stale); err != nil {
			return err
		}
		if batch = again; len(batch) == 0 {
			return nil
		}
		if failing.IsZero() {
			failing = time.Now()
		}
		if d := time.Since(failing); d > restorePatience {
			return fmt.Errorf("key %q could not be stored for %v: %s", batch[0].req.Key, restorePatience, why)
		}
		if err := pause(w.ctx, retryAfter(time.Since(failing))); err != nil {
			return err
		}
	}
	return nil
}

// mark marks items as stale that were (meta I), unless somebody has written them since.
func (w *restorer) mark(stale []restored) error {
	if len(stale) == 0 {
		return nil
	}
	reqs := make([]item.Request, len(stale))
	for i := range stale {
		reqs[i] = item.Request{Op: item.OpDelete, Options: item.Invalidate | item.Compare | item.Explicit, Key: stale[i].req.Key, CAS: stale[i].cas, Unique: stale[i].req.Unique}
	}
	results, err := w.r.link.do(w.ctx, reqs)
	if err != nil {
		return err
	}
	for i := range results {
		if results[i].Status.Unsure() {
			return fmt.Errorf("key %q was stored, and could not be marked as stale: %s", stale[i].req.Key, results[i].Message)
		}
	}
	return nil
}

func (w *restorer) count(fn func(*restoreStats)) {
	w.r.mu.Lock()
	fn(&w.r.stats)
	w.r.mu.Unlock()
}
