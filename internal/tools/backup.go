package tools

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/kumofs/kumofs/internal/backup"
	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
)

// backupOptions are the flags of backup --to, restore and verify.
type backupOptions struct {
	to, since       string
	rate            int64 // bytes a second; 0: no limit
	plain           bool
	overwrite, keep bool
	quiet           bool
}

func backupFlags(f *cli.Flags) *backupOptions {
	o := &backupOptions{}
	to := f.String("", "to", "DIR", "", "backup: gather all pairs into this directory, here; it must not exist, or hold an unfinished backup")
	since := f.String("", "since", "BACKUP", "", "backup --to: only what is not in this one, on which it then stands")
	plain := f.Bool("", "no-compress", "backup --to: do not compress (zstd)")
	overwrite := f.Bool("", "overwrite", "restore: replace keys that the cluster has")
	keep := f.Bool("", "keep", "restore: keep keys that the cluster has")
	quiet := f.Bool("q", "quiet", "backup --to, restore, verify: show no progress")
	f.Check(func() error {
		*o = backupOptions{to: *to, since: *since, plain: *plain, overwrite: *overwrite, keep: *keep, quiet: *quiet}
		return nil
	})
	return o
}

// takeRate takes --rate, which replace has too.
func (o *backupOptions) takeRate(f *copyFlags) (err error) {
	if f.rate == "" {
		return nil
	}
	if o.rate, err = cli.ParseSize(strings.TrimSuffix(f.rate, "/s")); err != nil {
		return fmt.Errorf("--rate %s: must be a size a second like 20M/s", cli.Quote(f.rate))
	}
	f.rate = ""
	return nil
}

const (
	// backupWorkers is how many partitions are asked of each server at a time, and
	// maxBackupWorkers of all.
	backupWorkers    = 2
	maxBackupWorkers = 16
	// backupPatience is how long a partition may fail before all is given up. A failover takes two seconds.
	backupPatience = time.Minute
	// backupSilence is how long a server may send nothing.
	backupSilence = 30 * time.Second
	// saveEvery is how often the manifest is written, from which an interrupted backup goes on.
	saveEvery = 5 * time.Second
)

// backupRun is one run of backup --to.
type backupRun struct {
	c     *ctl
	http  *http.Client
	w     *backup.Writer
	base  *backup.Reader // nil: none
	limit *rate.Limiter
	prog  *progress
	cmap  atomic.Pointer[clustermap.Map]

	mu     sync.Mutex
	queue  []wanted
	asked  time.Time // when the map was asked for
	behind int       // partitions that were taken whole, although there is a base
}

// wanted is a partition that is to be got.
type wanted struct {
	part   uint16
	failed time.Time // first; zero: never
	not    time.Time // before
}

// backupTo makes a backup of the whole cluster in a directory.
func (c *ctl) backupTo(ctx context.Context, o *backupOptions) error {
	began := c.now()
	m, err := c.mapOf(ctx)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	b := &backupRun{c: c, limit: newLimit(o.rate)}
	b.cmap.Store(m)
	if err := b.open(o, m, began); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	defer b.w.Close()
	b.http = &http.Client{Transport: &http.Transport{
		DialContext:           c.secret.DialContext(&net.Dialer{Timeout: 3 * time.Second}),
		MaxIdleConnsPerHost:   maxBackupWorkers,
		ResponseHeaderTimeout: backupSilence,
		DisableCompression:    true,
	}}
	defer b.http.CloseIdleConnections()
	err = b.run(ctx, o)
	if err == nil {
		err = b.w.Complete(c.now())
	} else if serr := b.w.Save(); serr != nil && ctx.Err() != nil {
		err = serr
	}
	if err != nil {
		have := len(b.w.Manifest().Parts)
		if ctx.Err() != nil {
			err = errors.New("interrupted")
		}
		return fmt.Errorf("backup: %w; %d of %d partitions are in %s: the same command goes on from there", err, have, len(m.Partitions), o.to)
	}
	return b.report(o, began)
}

// mapOf asks for the map, within the usual time.
func (c *ctl) mapOf(ctx context.Context) (*clustermap.Map, error) {
	ctx, cancel := context.WithTimeout(ctx, Deadline)
	defer cancel()
	m, err := c.client.Map(ctx)
	if err == nil && len(m.Servers) == 0 {
		err = errors.New("no server is attached")
	}
	return m, err
}

// newLimit is a limiter of bytes a second.
func newLimit(bytes int64) *rate.Limiter {
	if bytes <= 0 {
		return rate.NewLimiter(rate.Inf, 0)
	}
	return rate.NewLimiter(rate.Limit(bytes), int(max(bytes/10, 4<<10)))
}

// spend waits until n bytes more may go.
func spend(ctx context.Context, l *rate.Limiter, n int) error {
	for n > 0 && l.Limit() != rate.Inf {
		step := min(n, l.Burst())
		if err := l.WaitN(ctx, step); err != nil {
			return err
		}
		n -= step
	}
	return ctx.Err()
}

// open begins the backup, or goes on with one.
func (b *backupRun) open(o *backupOptions, m *clustermap.Map, began time.Time) (err error) {
	if o.since != "" {
		if b.base, err = backup.Open(o.since); err != nil {
			return fmt.Errorf("--since: %w", err)
		}
		switch of := b.base.Manifest; {
		case of.Cluster != m.ClusterID.String():
			return fmt.Errorf("--since: %s is a backup of cluster %s, and this is cluster %s", o.since, of.Cluster, m.ClusterID)
		case of.Partitions != len(m.Partitions):
			return fmt.Errorf("--since: %s has %d partitions, and the cluster %d", o.since, of.Partitions, len(m.Partitions))
		}
	}
	if backup.Is(o.to) {
		return b.resume(o, m)
	}
	man := backup.Manifest{Kumofs: cli.Version, Cluster: m.ClusterID.String(), Clock: m.Version, Began: began.UTC(), Partitions: len(m.Partitions)}
	if b.base != nil {
		path, err := relative(o.to, o.since)
		if err != nil {
			return err
		}
		man.Base = &backup.Base{ID: b.base.Manifest.ID, Checksum: b.base.Manifest.Checksum, Path: path}
	}
	b.w, err = backup.Create(o.to, man)
	return err
}

// resume goes on with an unfinished backup of the same cluster on the same base.
func (b *backupRun) resume(o *backupOptions, m *clustermap.Map) error {
	man, err := backup.ReadManifest(o.to)
	if err != nil {
		return err
	}
	same := man.Base == nil && b.base == nil || man.Base != nil && b.base != nil && man.Base.ID == b.base.Manifest.ID
	switch {
	case man.Complete:
		return fmt.Errorf("there is a backup in %s already, of %s", o.to, man.Began.Local().Format(time.DateTime))
	case man.Cluster != m.ClusterID.String() || man.Partitions != len(m.Partitions):
		return fmt.Errorf("there is an unfinished backup of another cluster (%s) in %s", man.Cluster, o.to)
	case !same:
		return fmt.Errorf("there is an unfinished backup in %s that stands on another one: give the same --since, or another directory", o.to)
	}
	b.w, err = backup.Resume(o.to)
	return err
}

// relative is the path from a directory, which may not be there yet, to another.
func relative(from, to string) (string, error) {
	f, err := filepath.Abs(from)
	if err != nil {
		return "", err
	}
	t, err := filepath.Abs(to)
	if err != nil {
		return "", err
	}
	return filepath.Rel(f, t)
}

// run gets what is missing.
func (b *backupRun) run(ctx context.Context, o *backupOptions) error {
	missing := b.w.Missing()
	for _, part := range missing {
		b.queue = append(b.queue, wanted{part: part})
	}
	m := b.cmap.Load()
	b.prog = newProgress(b.c.progressTo(o), b.c.terminal(), "backup", len(m.Partitions)-len(missing), len(m.Partitions))
	defer b.prog.end()
	workers := min(backupWorkers*len(m.Servers), maxBackupWorkers, max(1, len(missing)))
	if o.rate > 0 { // a server does not wait for long for one who reads slowly
		workers = min(workers, max(1, int(o.rate>>20)))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			if err := b.work(ctx, b.w.Segment(!o.plain)); err != nil {
				cancel(err)
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	save := time.NewTicker(saveEvery)
	defer save.Stop()
	for {
		select {
		case <-done:
			return context.Cause(ctx)
		case <-save.C:
			if err := b.w.Save(); err != nil {
				cancel(err)
			}
		}
	}
}

// work gets partitions until none is left.
func (b *backupRun) work(ctx context.Context, seg *backup.Segment) (err error) {
	defer func() {
		if cerr := seg.Close(); err == nil {
			err = cerr
		}
	}()
	for {
		w, ok, err := b.take(ctx)
		if err != nil || !ok {
			return err
		}
		err = b.partition(ctx, seg, w.part)
		if err == nil {
			b.prog.partition()
			continue
		}
		var damage *backup.Damage
		var disk *os.PathError
		if ctx.Err() != nil || errors.As(err, &damage) || errors.As(err, &disk) || errors.Is(err, errTooOld) {
			return err
		}
		now := time.Now()
		if w.failed.IsZero() {
			w.failed = now
		}
		if now.Sub(w.failed) > backupPatience {
			return fmt.Errorf("partition %d could not be read for %v: %w", w.part, backupPatience, err)
		}
		b.prog.say("partition %d: %v", w.part, err)
		w.not = now.Add(retryAfter(now.Sub(w.failed)))
		b.mu.Lock()
		b.queue = append(b.queue, w)
		b.mu.Unlock()
		b.renewMap(ctx)
	}
}

// retryAfter is when to try again what has failed for so long.
func retryAfter(failing time.Duration) time.Duration {
	return min(max(failing/4, 100*time.Millisecond), 2*time.Second)
}

// take takes a partition from the queue. It waits where all that are left have just failed.
func (b *backupRun) take(ctx context.Context) (w wanted, ok bool, err error) {
	for {
		now := time.Now()
		b.mu.Lock()
		if len(b.queue) == 0 {
			b.mu.Unlock()
			return w, false, nil
		}
		soonest := b.queue[0].not
		for i := range b.queue {
			if !b.queue[i].not.After(now) {
				w = b.queue[i]
				b.queue = slices.Delete(b.queue, i, i+1)
				b.mu.Unlock()
				return w, true, nil
			}
			if b.queue[i].not.Before(soonest) {
				soonest = b.queue[i].not
			}
		}
		b.mu.Unlock()
		if err := pause(ctx, soonest.Sub(now)); err != nil {
			return w, false, err
		}
	}
}

// pause waits for d, or until ctx is done.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// renewMap asks for the map, if nobody has a moment ago.
func (b *backupRun) renewMap(ctx context.Context) {
	b.mu.Lock()
	due := time.Since(b.asked) > 200*time.Millisecond
	if due {
		b.asked = time.Now()
	}
	b.mu.Unlock()
	if !due {
		return
	}
	if m, err := b.c.mapOf(ctx); err == nil && m.Version > b.cmap.Load().Version {
		b.cmap.Store(m)
	}
}

// errTooOld: asking again does not help.
var errTooOld = errors.New("this server cannot be asked for a backup: it is of an older kumofs, which must be replaced first")

// partition gets one partition.
func (b *backupRun) partition(ctx context.Context, seg *backup.Segment, part uint16) error {
	if b.base == nil {
		return b.fetch(ctx, seg, part, nil)
	}
	known, err := b.base.Known(part)
	if err != nil {
		return err
	}
	err = b.fetch(ctx, seg, part, known)
	if !errors.Is(err, backup.ErrRewound) {
		return err
	}
	if err = b.fetch(ctx, seg, part, nil); err == nil {
		b.mu.Lock()
		b.behind++
		b.mu.Unlock()
	}
	return err
}

// fetch gets a partition from its primary: all of it, or what differs from known.
func (b *backupRun) fetch(ctx context.Context, seg *backup.Segment, part uint16, known *backup.Known) error {
	m := b.cmap.Load()
	p := &m.Partitions[part]
	server := m.Server(p.Primary())
	if server == nil {
		return errors.New("no server has it at the moment")
	}
	outer := ctx
	ctx, cancel := context.WithCancel(outer)
	defer cancel()
	silence := time.AfterFunc(backupSilence, cancel)
	defer silence.Stop()
	var body []byte
	var delta *backup.Delta
	var digest backup.Digest
	take := func(e *backup.Entry) error {
		switch e.Kind {
		case backup.Pair, backup.Large:
			digest.Add(e.Key, e.Version)
		case backup.Part:
		default:
			return fmt.Errorf("server %s sends an entry of kind %d in a whole partition", server.Addr, e.Kind)
		}
		return seg.Add(e)
	}
	if known != nil {
		req, begins := known.Request(b.base.Part(part).Version)
		body = backup.AppendRequest(nil, req)
		delta = backup.NewDelta(known, req, begins, seg.Add)
		take = delta.Take
	}
	url := fmt.Sprintf("http://%s%s?partition=%d&epoch=%d", server.Addr, control.PathBackup, part, p.Epoch)
	resp, err := b.ask(ctx, url, body)
	if err != nil {
		return fmt.Errorf("server %s: %w", server.Addr, err)
	}
	defer resp.Body.Close()
	in := backup.NewBlockReader(bufio.NewReaderSize(resp.Body, 256<<10))
	for first := true; ; first = false {
		kind, payload, size, err := in.Next()
		if err != nil {
			return fmt.Errorf("server %s: %s", server.Addr, lost(outer, err))
		}
		b.prog.add(size)
		silence.Stop()
		if err := spend(ctx, b.limit, size); err != nil {
			return err
		}
		silence.Reset(backupSilence)
		switch {
		case first != (kind == backup.BlockBegin):
			return fmt.Errorf("server %s sends something else than a partition", server.Addr)
		case first:
			s, err := backup.DecodeSection(payload)
			if err == nil && (s.Partition != part || s.Whole != (known == nil)) {
				err = errors.New("it sends another partition than was asked for")
			}
			if err == nil {
				err = seg.Begin(s)
			}
			if err != nil {
				return err
			}
		case kind == backup.BlockEntries:
			if err := backup.Entries(payload, take); err != nil {
				return err
			}
		default:
			sums, err := backup.DecodeSums(payload)
			if err == nil && delta != nil {
				err = delta.End(&sums)
			}
			if pairs, hash := digest.Sum(); err == nil && delta == nil && (pairs != sums.Pairs || hash != sums.Digest) {
				err = fmt.Errorf("server %s has sent %d pairs and says that it were %d, or others", server.Addr, pairs, sums.Pairs)
			}
			if err == nil {
				err = seg.End(sums.Pairs, sums.Digest)
			}
			_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1)) // the connection can be used again
			return err
		}
	}
}

// lost says why a stream has ended; outer is not what ends it when it is silent.
func lost(outer context.Context, err error) string {
	if errors.Is(err, context.Canceled) && outer.Err() == nil {
		return fmt.Sprintf("it sent nothing for %v", backupSilence)
	}
	return plain(err)
}

// ask sends a request and gives the answer if it is good.
func (b *backupRun) ask(ctx context.Context, url string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := b.http.Do(req)
	if err != nil {
		return nil, errors.New(plain(err))
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10)) // the status says enough
	var e control.Error
	if json.Unmarshal(answer, &e) != nil || e.Error == "" {
		if resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusMethodNotAllowed {
			return nil, errTooOld
		}
		e.Error = "answered " + resp.Status
	}
	return nil, errors.New(e.Error)
}

// report says what was made.
func (b *backupRun) report(o *backupOptions, began time.Time) error {
	m := b.w.Manifest()
	size := int64(0)
	for _, f := range m.Files {
		size += f.Size
	}
	took := b.c.now().Sub(began)
	if b.c.json {
		m.Parts = nil
		return WriteJSON(b.c.out, map[string]any{
			"backup": o.to, "id": m.ID, "cluster": m.Cluster, "clock": m.Clock, "began": m.Began, "ended": m.Ended,
			"partitions": m.Partitions, "pairs": m.Pairs, "pairs_stored": m.Stored, "pairs_deleted": m.Deleted,
			"bytes": m.Bytes, "size": size, "base": m.Base, "seconds": took.Seconds(),
		})
	}
	if b.base == nil {
		fmt.Fprintf(b.c.out, "backed up %s (%s, %s on disk) of %d partitions into %s in %v\n",
			plural(m.Pairs, "pair"), showBytes(uint64(m.Bytes)), showBytes(uint64(size)), m.Partitions, o.to, took.Round(10*time.Millisecond))
		return nil
	}
	fmt.Fprintf(b.c.out, "backed up what is new since %s: %s (%s, %s on disk) and %s, of %s in %d partitions, into %s in %v\n",
		o.since, plural(m.Stored, "pair"), showBytes(uint64(m.Bytes)), showBytes(uint64(size)), plural(m.Deleted, "deletion"), plural(m.Pairs, "pair"), m.Partitions, o.to, took.Round(10*time.Millisecond))
	if b.behind > 0 {
		fmt.Fprintf(b.c.out, "%d partitions have not gone on from where %s left them and were taken whole\n", b.behind, o.since)
	}
	return nil
}
