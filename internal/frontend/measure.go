package frontend

import (
	"time"

	"github.com/kumofs/kumofs/internal/latency"
)

// tally counts commands that began in the same turn and have been answered.
type tally struct {
	began int64 // Router.Clock; 0: there are none
	n     [latency.Kinds]uint32
}

// meter knows how long commands took: from the turn in which they were taken from what a client sent
// (a value that comes in parts: from its last one) to the end of the turn that answered
// them. The clock is read once for each turn that answered any, and commands of one turn that
// were answered in one turn are counted together.
type meter struct {
	now   tally
	other []tally // of other turns
	kinds latency.Windows
}

// maxTallies is how many turns' commands one turn may answer before the clock is read again.
const maxTallies = 64

// measure counts a command that is answered.
func (f *Frontend) measure(s *slot) {
	m := &f.meter
	if s.began == 0 {
		return // it said something that is no answer of a server's
	}
	if s.began != m.now.began {
		f.tally(s.began)
	}
	m.now.n[latency.KindOf(s.op)]++
}

// tally begins to count commands of another turn.
func (f *Frontend) tally(began int64) {
	m := &f.meter
	if m.now.began != 0 {
		if m.other = append(m.other, m.now); len(m.other) == maxTallies {
			m.now.began = 0
			f.settle()
		}
	}
	m.now = tally{began: began}
}

// TurnEnd settles what the turn has answered. The frontend has its loop call it; who answers the
// router in a hook of its own, as a router.Backend may, adds it after that hook too.
func (f *Frontend) TurnEnd() {
	if f.meter.now.began != 0 {
		f.settle()
	}
	f.router.TurnEnd()
}

func (f *Frontend) settle() {
	m := &f.meter
	now := f.router.ReadClock()
	for i := range m.other {
		m.settle(now, &m.other[i])
	}
	m.other = m.other[:0]
	if m.now.began != 0 {
		m.settle(now, &m.now)
		m.now.began = 0
	}
}

func (m *meter) settle(now int64, t *tally) {
	for k, n := range t.n {
		if n > 0 {
			m.kinds[k].Add(now, time.Duration(now-t.began), uint64(n))
		}
	}
}

// Latency tells how long commands took. On the loop.
func (f *Frontend) Latency() *latency.Summary { return f.meter.kinds.Summary(f.router.ReadClock()) }
