package server

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/store"
)

// Mending a span of keys that cannot be read here, or that differs from what the others have:
//
//  1. This server leaves each partition that has a part of it (R9: an error of the disk is an accusation of oneself),
//     if others have all that was acknowledged: they are the replicas of an active epoch (R4). Where it is the only one,
//     it goes on with what can be read, and what cannot waits for another copy.
//  2. Its copy counts as one that is not whole from then on (replica.Distrust), and no join into it begins.
//  3. What is in the span is removed from the store, so that pebble never looks there again.
//  4. It joins, and the comparison of R7 finds what is missing. What is left of the damaged tables is written anew.
//
// So no step destroys what somebody counts on, and a server that dies at any of them finds its
// copy unfinished when it starts.
type mender struct {
	s    *scrubber
	done atomic.Int64 // spans mended since the start

	mu   sync.Mutex
	jobs []*mend
	wake chan struct{}
}

// mend is one span.
type mend struct {
	span  store.Span
	since time.Time
	// Below: changed by run alone, under mender.mu where list reads it.
	state  mendState
	why    string // it does not go on
	said   bool   // the log was told so
	held   []uint16
	stored <-chan struct{}
	parts  []uint16
	barred int64     // since when quit cannot go on, by replica.Node.Now; 0: it can
	again  time.Time // Remove failed: not before then
}

type mendState int

const (
	mendNew     mendState = iota
	mendLeaving           // waits until it may be removed
	mendHeld              // may be removed when stored is closed
	mendJoining           // removed; waits for the copies
)

var mendNames = [...]string{"found", "leaving", "removing", "joining"}

const (
	// mendPoll is how often mends are looked at while there are any, mendWait where all wait for another copy.
	mendPoll = 100 * time.Millisecond
	mendWait = time.Second
	// mendMost bounds the partitions that are mended at a time: each has a copy less meanwhile.
	mendMost = 64
	// removeAgain is when what could not be removed is tried again.
	removeAgain = time.Second
	// mendSay is how long a mend may wait for others before the log says so; mendAlone where
	// there are none.
	mendSay   = time.Minute
	mendAlone = 2 * time.Second
)

// add has a span mended; false: it is being mended.
func (m *mender) add(span store.Span) bool {
	span = store.Span{Start: bytes.Clone(span.Start), End: bytes.Clone(span.End)}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, j := range m.jobs {
		if j.span.Contains(span) {
			return false
		}
	}
	m.jobs = append(m.jobs, &mend{span: span, since: time.Now()})
	select {
	case m.wake <- struct{}{}:
	default:
	}
	return true
}

func (m *mender) waiting() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.jobs)
}

// poll ends when mends are to be looked at again; nil: there are none.
func (m *mender) poll() <-chan time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.jobs) == 0 {
		return nil
	}
	// A copy that is awaited for hours is looked for less often.
	if slices.ContainsFunc(m.jobs, func(j *mend) bool { return j.why != control.ScrubNoCopy }) {
		return time.After(mendPoll)
	}
	return time.After(mendWait)
}

// list is what is not mended.
func (m *mender) list() (out []control.ScrubDamage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, j := range m.jobs {
		first, last := j.span.Partitions()
		out = append(out, control.ScrubDamage{Where: j.span.String(), First: first, Last: last, Since: j.since, State: mendNames[j.state], Why: j.why})
	}
	return out
}

// run mends until ctx is done.
func (m *mender) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.wake:
		case <-m.poll():
		}
		m.mu.Lock()
		jobs := slices.Clone(m.jobs)
		m.mu.Unlock()
		// One span of a partition at a time, and the earlier first: two must not wait for each other.
		busy, under, mended := map[uint16]*mend{}, 0, 0
		for _, j := range jobs {
			var before *mend
			for _, p := range j.parts {
				if before == nil {
					before = busy[p]
				}
				busy[p] = j
			}
			if before != nil && j.state == mendLeaving {
				// The other may have become wider since, and wait for what this one holds.
				if m.release(ctx, j) != nil {
					return
				}
				m.stuck(j, before.why)
				continue
			}
			if j.state < mendHeld && under >= mendMost {
				continue
			}
			if j.why != control.ScrubNoCopy {
				under += len(j.parts)
			}
			ended, err := m.step(ctx, j)
			if err != nil {
				return
			}
			if ended {
				m.mu.Lock()
				m.jobs = slices.DeleteFunc(m.jobs, func(x *mend) bool { return x == j })
				m.mu.Unlock()
				m.done.Add(1)
				mended++
				m.s.n.log.Warn("what was damaged in the store is mended", "store", m.s.n.store.Path(),
					"span", j.span.String(), "took", time.Since(j.since).Round(time.Millisecond))
			}
		}
		if mended > 0 && m.waiting() == 0 {
			m.s.n.store.Mended()
		}
	}
}

// step does what can be done for a span; ended: it is mended. The error is that of ctx.
func (m *mender) step(ctx context.Context, j *mend) (ended bool, err error) {
	n := m.s.n
	switch j.state {
	case mendNew:
		span, err := n.store.Widen(ctx, j.span)
		if err != nil {
			m.stuck(j, err.Error())
			return false, ctx.Err()
		}
		count := 0
		if err := n.onLoop(ctx, func() { count = len(n.replicas) }); err != nil || count == 0 {
			return false, ctx.Err() // there is no map yet
		}
		first, last := span.Partitions()
		j.parts = j.parts[:0]
		for p := int(first); p <= int(last) && p < count; p++ {
			j.parts = append(j.parts, uint16(p))
		}
		m.mu.Lock()
		j.span, j.state = span, mendLeaving
		m.mu.Unlock()
		return false, nil
	case mendLeaving:
		if n.store.Full() {
			// A full store cannot remove anything: it would be a copy less for nothing.
			m.stuck(j, "the disk is full")
			return false, m.release(ctx, j)
		}
		var why string
		free := false
		if err := n.onLoop(ctx, func() { free, why = n.quit(j) }); err != nil {
			return false, err
		}
		if !free {
			m.stuck(j, why)
			return false, nil
		}
		m.mu.Lock()
		j.state, j.why = mendHeld, ""
		m.mu.Unlock()
		return false, nil
	case mendHeld:
		if time.Now().Before(j.again) {
			return false, nil
		}
		if j.stored != nil {
			select {
			case <-j.stored:
				j.stored = nil
			case <-ctx.Done():
				return false, ctx.Err()
			}
		}
		unwanted := false
		if err := n.onLoop(ctx, func() {
			if unwanted = n.unwanted(j); !unwanted {
				n.trust(j)
			}
		}); err != nil {
			return false, err
		}
		if !unwanted {
			m.mu.Lock()
			j.state = mendLeaving
			m.mu.Unlock()
			return false, nil
		}
		err := n.store.Remove(ctx, j.span)
		if err != nil && ctx.Err() != nil {
			return false, ctx.Err()
		}
		if err != nil && !errors.Is(err, store.ErrWider) {
			m.stuck(j, err.Error())
			j.again = time.Now().Add(removeAgain)
			return false, nil
		}
		// Wider, for a second place was found to be damaged: from the beginning, with what belongs to that.
		if lerr := n.onLoop(ctx, func() { n.trust(j) }); lerr != nil {
			return false, lerr
		}
		m.mu.Lock()
		if j.state = mendJoining; err != nil {
			j.state = mendNew
		}
		m.mu.Unlock()
		if err == nil {
			n.log.Info("removed what is damaged", "span", j.span.String())
			if err := n.store.Rewrite(ctx); err != nil && ctx.Err() == nil {
				n.log.Info("cannot write a table anew that is damaged; nothing in the damaged part is used any more", "err", err)
			}
		}
	case mendJoining:
		var why string
		if err := n.onLoop(ctx, func() { why = n.backIn(j) }); err != nil {
			return false, err
		}
		if why == "" {
			return true, nil
		}
		m.stuck(j, why)
	}
	return false, nil
}

// release ends the hold of what has not been removed. The error is that of ctx.
func (m *mender) release(ctx context.Context, j *mend) error {
	if len(j.held) == 0 {
		return nil
	}
	return m.s.n.onLoop(ctx, func() { m.s.n.trust(j) })
}

// stuck notes why a mend does not go on, and says so once when that lasts.
func (m *mender) stuck(j *mend, why string) {
	m.mu.Lock()
	j.why = why
	m.mu.Unlock()
	limit := mendSay
	if why == control.ScrubNoCopy {
		limit = mendAlone
	}
	if why == "" || j.said || time.Since(j.since) < limit {
		return
	}
	j.said = true
	m.s.n.log.Error("what is damaged in the store cannot be mended now: all that can be read is served, and it is mended when another copy is there",
		"store", m.s.n.store.Path(), "span", j.span.String(), "why", why)
}

const notYetLeft = "the others have not taken it over yet"

// quit has this server leave the partitions of a mend, and holds those that it has left. free: it
// has left all of them; else why not. Called on the loop.
func (n *node) quit(j *mend) (free bool, why string) {
	if !n.member {
		return false, "this server takes no part now"
	}
	n.touchClock()
	// Others of this list are other mends'. What this one asked for at the last look may be done.
	n.report.quitting = slices.DeleteFunc(n.report.quitting, func(p uint16) bool { return slices.Contains(j.parts, p) })
	// All are looked at before anything is done: nothing is left or held that would not be mended.
	for _, p := range j.parts {
		x := n.replicas[p]
		c := x.Config()
		in := n.countsOnThis(c)
		if in && slices.Contains(j.held, p) {
			// A loss was accepted, and this is the copy that leads now: it leaves as any other.
			x.Trust(&n.fx)
			j.held = slices.DeleteFunc(j.held, func(q uint16) bool { return q == p })
		}
		switch {
		case x.Distrusted() && !slices.Contains(j.held, p):
			why = "another part of it is being mended"
		case (in || !x.Empty()) && (!c.Active || len(clustermap.Without(c.Replicas, n.self)) == 0):
			why = control.ScrubNoCopy
		}
	}
	if why != "" {
		// A failover lasts a moment. What lasts longer must not keep the others from joining again.
		if j.barred == 0 {
			j.barred = n.rn.Now
		}
		if n.rn.Now-j.barred > int64(mendAlone) {
			n.trust(j)
		}
		return false, why
	}
	j.barred = 0
	var out []uint16 // to be left
	for _, p := range j.parts {
		x := n.replicas[p]
		switch {
		case slices.Contains(j.held, p):
		case n.countsOnThis(x.Config()) || !x.Distrust(&n.fx):
			out = append(out, p)
		default: // an empty one too, so that nothing comes meanwhile
			j.held = append(j.held, p)
		}
	}
	n.fill()
	j.stored = n.commit.stored() // nil: all is
	if len(out) > 0 {
		n.report.quitting = append(n.report.quitting, out...)
		return false, notYetLeft
	}
	return true, ""
}

// countsOnThis tells whether somebody counts on this server's copy (R4, R9).
func (n *node) countsOnThis(c *clustermap.Partition) bool {
	return clustermap.Contains(c.Replicas, n.self) || clustermap.Contains(c.LastKnown, n.self)
}

// unwanted tells whether still nobody counts on any part of a mend: an operator may have accepted a loss since
// it was left. Called on the loop.
func (n *node) unwanted(j *mend) bool {
	for _, p := range j.parts {
		if n.countsOnThis(n.replicas[p].Config()) || n.countsOnThis(&n.cmap.Partitions[p]) {
			return false
		}
	}
	return true
}

// trust ends the hold. Called on the loop.
func (n *node) trust(j *mend) {
	n.touchClock()
	for _, p := range j.held {
		n.replicas[p].Trust(&n.fx)
	}
	j.held = j.held[:0]
}

// backIn tells why a mend is not at its end, "" if it is: this server's copies are whole
// again, or are not wanted here any more. Called on the loop.
func (n *node) backIn(j *mend) (why string) {
	for _, p := range j.parts {
		x := n.replicas[p]
		c := x.Config()
		switch {
		case clustermap.Contains(c.Replicas, n.self) && !x.Unfinished():
		case !clustermap.Contains(c.Assigned, n.self) && !clustermap.Contains(c.Joining, n.self):
		case x.Empty() && !clustermap.Contains(c.Assigned, n.self):
		default:
			return "the copy has not joined again yet"
		}
	}
	return ""
}
