package tools

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/large"
	"github.com/kumofs/kumofs/internal/loop"
	"github.com/kumofs/kumofs/internal/router"
	"github.com/kumofs/kumofs/internal/secret"
	"github.com/kumofs/kumofs/internal/wire"
)

// link sends commands to the cluster as a gateway does, with retries and sessions
// (R8). Package client is not enough for a restore: an item's own unique, its stale mark and
// values that are read piece by piece are not in its API.
type link struct {
	cancel context.CancelFunc
	loop   loop.Loop
	router *router.Router // the loop's
	ended  chan struct{}  // when the loop has
	all    sync.WaitGroup
	err    error // why the link to the managers ended; after all
	parts  int
}

// linkTimeout bounds openLink and every command, its retries included.
const linkTimeout = 10 * time.Second

// openLink returns when a manager has told where the servers are.
func openLink(ctx context.Context, managers []string, sec *secret.Secret) (*link, error) {
	l := &link{ended: make(chan struct{})}
	var err error
	if l.loop, err = loop.New(); err != nil {
		return nil, err
	}
	log := slog.New(slog.DiscardHandler)
	run, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	l.router = router.New(l.loop, router.Options{Timeout: linkTimeout, Secret: sec, Log: log})
	mapped := make(chan int, 1)
	refused := make(chan string, 1)
	member := control.NewMember(control.MemberConfig{
		Managers: managers,
		Secret:   sec,
		Logger:   log,
		Hello:    func() control.Hello { return control.Hello{Role: control.RoleGateway, Version: cli.Version} },
		OnMap: func(m *clustermap.Map) {
			l.loop.Post(func() { l.router.SetMap(m) })
			if len(m.Servers) > 0 {
				select {
				case mapped <- len(m.Partitions):
				default: // it was told
				}
			}
		},
		OnConnected:    func(string) {},
		OnDisconnected: func(string, error) {},
		OnRefused: func(r control.Refuse) {
			select {
			case refused <- r.Reason:
			default: // one reason is enough
			}
		},
	})
	l.all.Go(func() {
		l.err = member.Run(run)
		cancel()
	})
	l.all.Go(func() {
		defer close(l.ended)
		_ = l.loop.Run(run) // nil
	})
	limit := time.NewTimer(linkTimeout)
	defer limit.Stop()
	select {
	case l.parts = <-mapped:
		return l, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-l.ended:
		err = errors.New("no manager takes this program")
	case <-limit.C:
		err = fmt.Errorf("no manager was reached within %v, or no server is attached", linkTimeout)
	}
	select {
	case why := <-refused:
		err = errors.New(why)
	default:
	}
	l.close()
	return nil, err
}

// close ends it. What is under way is given up.
func (l *link) close() {
	l.cancel()
	l.all.Wait()
}

// wait waits for done, which the loop closes.
func (l *link) wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-l.ended:
		return errors.New("the connection to the cluster has ended")
	}
}

// answers are the results of commands that were sent together.
type answers struct {
	results []item.Result // without values
	left    int
	done    chan struct{}
}

// answer is one of them. It is the router's Completion.
type answer struct {
	a *answers
	i int
}

// Done is called on the loop.
func (s *answer) Done(res *item.Result) {
	taken := *res
	taken.Item.Value = nil
	s.a.results[s.i] = taken
	if s.a.left--; s.a.left == 0 {
		close(s.a.done)
	}
}

// do sends commands and waits for all answers. After an error reqs must not be used again.
func (l *link) do(ctx context.Context, reqs []item.Request) ([]item.Result, error) {
	if len(reqs) == 0 {
		return nil, nil
	}
	a := &answers{results: make([]item.Result, len(reqs)), left: len(reqs), done: make(chan struct{})}
	l.loop.Post(func() { // false: wait finds that it has ended
		slots := make([]answer, len(reqs))
		for i := range reqs {
			slots[i] = answer{a, i}
			l.router.Do(&reqs[i], &slots[i])
		}
	})
	if err := l.wait(ctx, a.done); err != nil {
		return nil, err
	}
	return a.results, nil
}

// upload stores a value of size bytes in chunks and gives the manifest for the command that
// is to follow. next gives the next n bytes of it; they are lent.
func (l *link) upload(ctx context.Context, key []byte, size int, next func(n int) ([]byte, error)) ([]byte, *item.Result, error) {
	changed := make(chan struct{}, 1)
	tell := func() {
		select {
		case changed <- struct{}{}:
		default: // it is told
		}
	}
	begun := make(chan *large.Upload, 1)
	if err := l.onLoop(ctx, func() { begun <- large.NewUpload(l.router, key, size, tell) }); err != nil {
		return nil, nil, err
	}
	u := <-begun
	defer l.loop.Post(u.End)
	for taken := 0; ; {
		type state struct {
			ready, stored bool
			failed        *item.Result
			manifest      []byte
		}
		now := &state{} // the loop's, until onLoop returns nil
		err := l.onLoop(ctx, func() {
			*now = state{ready: u.Ready(), stored: u.Stored(), failed: u.Failed()}
			if now.stored {
				now.manifest = u.Manifest()
			}
		})
		switch {
		case err != nil:
			return nil, nil, err
		case now.failed != nil:
			return nil, now.failed, nil
		case now.stored:
			return now.manifest, nil, nil
		case now.ready:
			part, err := next(min(item.ChunkSize, size-taken))
			if err != nil {
				return nil, nil, err
			}
			taken += len(part)
			if err := l.onLoop(ctx, func() { u.Write(part) }); err != nil {
				return nil, nil, err
			}
		default:
			if err := l.wait(ctx, changed); err != nil {
				return nil, nil, err
			}
		}
	}
}

// onLoop runs fn on the loop and waits for it. After an error what fn touches must not be
// touched again.
func (l *link) onLoop(ctx context.Context, fn func()) error {
	done := make(chan struct{})
	l.loop.Post(func() { fn(); close(done) }) // false: wait finds that it has ended
	return l.wait(ctx, done)
}

// firstKey takes a page of one key. It is the router's PageTaker.
type firstKey struct {
	answer
	found *bool
}

// Page is called on the loop, before Done.
func (k *firstKey) Page(p *wire.Page) { *k.found = *k.found || len(p.Items) > 0 || p.More }

// empty tells whether the cluster holds no pair.
func (l *link) empty(ctx context.Context) (bool, error) {
	const together = 256
	for from := 0; from < l.parts; from += together {
		n := min(together, l.parts-from)
		a := &answers{results: make([]item.Result, n), left: n, done: make(chan struct{})}
		found := false
		l.loop.Post(func() { // false: wait finds that it has ended
			for i := range n {
				l.router.Scan(&wire.Scan{Partition: uint16(from + i), MaxItems: 1, KeysOnly: true}, &firstKey{answer{a, i}, &found})
			}
		})
		if err := l.wait(ctx, a.done); err != nil {
			return false, err
		}
		if found {
			return false, nil
		}
		for i := range a.results {
			if r := &a.results[i]; r.Status != item.OK {
				return false, fmt.Errorf("cannot look whether there are pairs in partition %d: %s", from+i, r.Message)
			}
		}
	}
	return true, nil
}
