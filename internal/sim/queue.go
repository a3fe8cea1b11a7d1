package sim

// event is something that happens at a time: to one run of a process, or to nobody.
type event struct {
	at  int64
	seq uint64
	do  func()
	on  *proc
	run uint64
}

func (e *event) before(o *event) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }

// queue is a heap of events. It is the hottest place of a run, so it is written
// out: nothing is boxed, and an event is moved into a hole instead of swapped.
type queue []event

func (q *queue) push(e event) {
	h := append(*q, event{})
	i := len(h) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !e.before(&h[up]) {
			break
		}
		h[i] = h[up]
		i = up
	}
	h[i] = e
	*q = h
}

func (q *queue) pop() event {
	h := *q
	first := h[0]
	n := len(h) - 1
	e := h[n]
	h[n] = event{}
	h = h[:n]
	i := 0
	for {
		c := 2*i + 1
		if c >= n {
			break
		}
		if c+1 < n && h[c+1].before(&h[c]) {
			c++
		}
		if !h[c].before(&e) {
			break
		}
		h[i] = h[c]
		i = c
	}
	if n > 0 {
		h[i] = e
	}
	*q = h
	return first
}
