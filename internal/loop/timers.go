package loop

import "time"

// timer is an entry of timerHeap.
type timer struct {
	l    *core
	when time.Time
	seq  uint64
	at   int // index in the heap; -1: not in it
	fn   func()
}

// timerHeap is a binary heap by time, then by the order of After. Each timer
// knows its place, so Stop removes it at once: most timers here are timeouts
// that are stopped.
type timerHeap struct {
	list []*timer
	seq  uint64
}

func (l *core) After(d time.Duration, fn func()) Timer {
	h := &l.timers
	h.seq++
	t := &timer{l: l, when: time.Now().Add(d), seq: h.seq, at: len(h.list), fn: fn}
	h.list = append(h.list, t)
	h.up(t.at)
	return t
}

func (t *timer) Stop() bool {
	if t.at < 0 {
		return false
	}
	t.l.timers.remove(t)
	return true
}

// untilTimer is how long until the first timer is due; negative: there is none.
func (l *core) untilTimer() time.Duration {
	if len(l.timers.list) == 0 {
		return -1
	}
	return max(0, time.Until(l.timers.list[0].when))
}

// runTimers runs what is due, but nothing that was made meanwhile: a timer that
// sets itself again with no delay must not keep the loop from its events.
func (l *core) runTimers() {
	h := &l.timers
	if len(h.list) == 0 {
		return
	}
	now, last := time.Now(), h.seq
	for len(h.list) > 0 {
		t := h.list[0]
		if t.when.After(now) || t.seq > last {
			return
		}
		h.remove(t)
		t.fn()
	}
}

func (h *timerHeap) remove(t *timer) {
	i, n := t.at, len(h.list)-1
	h.swap(i, n)
	h.list[n] = nil
	h.list = h.list[:n]
	t.at = -1
	if i < n {
		h.up(i)
		h.down(i)
	}
}

func (h *timerHeap) less(i, j int) bool {
	a, b := h.list[i], h.list[j]
	if a.when.Equal(b.when) {
		return a.seq < b.seq
	}
	return a.when.Before(b.when)
}

func (h *timerHeap) swap(i, j int) {
	h.list[i], h.list[j] = h.list[j], h.list[i]
	h.list[i].at, h.list[j].at = i, j
}

func (h *timerHeap) up(i int) {
	for i > 0 {
		p := (i - 1) / 2
		if !h.less(i, p) {
			return
		}
		h.swap(i, p)
		i = p
	}
}

func (h *timerHeap) down(i int) {
	for {
		c := 2*i + 1
		if c >= len(h.list) {
			return
		}
		if c+1 < len(h.list) && h.less(c+1, c) {
			c++
		}
		if !h.less(c, i) {
			return
		}
		h.swap(i, c)
		i = c
	}
}
