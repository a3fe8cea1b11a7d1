package manager

import (
	"strings"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
)

const (
	historySteps = 256
	historyBytes = 8 << 20
)

// history is the newest map and the steps that led to it, as frames, so that a
// member that was away for a moment is sent what it missed.
type history struct {
	m     *clustermap.Map
	whole []byte // the frame of m, made when it is asked for
	steps []historyStep
	bytes int
}

type historyStep struct {
	base  uint64
	frame []byte
}

func (h *history) reset(m *clustermap.Map) { *h = history{m: m} }

// shows tells whether m, or a later map, is in it.
func (h *history) shows(m *clustermap.Map) bool {
	return h.m != nil && h.m.ClusterID == m.ClusterID && h.m.Version >= m.Version
}

// take notes a map and, if it was made by one, the step that led to it. It returns
// the frame for members that have the map before; nil: they have this one, too.
func (h *history) take(m *clustermap.Map, d *clustermap.Delta) []byte {
	switch {
	case h.shows(m):
		return nil
	case d == nil || d.Recover != nil || h.m == nil || h.m.Version != d.Base:
		h.reset(m)
		return h.frame()
	}
	return h.add(m, d)
}

// add notes a step and returns its frame.
func (h *history) add(m *clustermap.Map, d *clustermap.Delta) []byte {
	f := control.AppendFrame(nil, control.KindDelta, clustermap.AppendDelta(nil, d))
	h.m, h.whole = m, nil
	h.steps = append(h.steps, historyStep{d.Base, f})
	h.bytes += len(f)
	for len(h.steps) > historySteps || len(h.steps) > 1 && h.bytes > historyBytes {
		h.bytes -= len(h.steps[0].frame)
		h.steps = h.steps[1:]
	}
	return f
}

// since are the frames that bring a member from version to the newest map.
func (h *history) since(cluster clustermap.ClusterID, version uint64) [][]byte {
	if h.m == nil || h.m.ClusterID == 0 || cluster == h.m.ClusterID && version >= h.m.Version {
		return nil
	}
	if cluster == h.m.ClusterID {
		for i := range h.steps {
			if h.steps[i].base == version {
				var out [][]byte
				for _, s := range h.steps[i:] {
					out = append(out, s.frame)
				}
				return out
			}
		}
	}
	return [][]byte{h.frame()}
}

// frame is the whole map.
func (h *history) frame() []byte {
	if h.whole == nil {
		h.whole = control.AppendFrame(nil, control.KindMap, clustermap.AppendMap(nil, h.m))
	}
	return h.whole
}

// committed pushes a step to every member as soon as it is committed. Who does not
// lead keeps it for those that come when it does: after an election all members come
// at once, and whoever lacks the last step alone is not to be sent the whole map.
func (m *Manager) committed(n *clustermap.Map, d *clustermap.Delta) {
	f := m.history.take(n, d)
	if f == nil || !m.council.Leading() {
		return
	}
	for k := range m.links {
		if k.taken {
			k.s.Send(f)
		}
	}
}

// progress is how far a plan has come, for the log.
type progress struct {
	state string // what was said last
}

const (
	saidCopy   = "start replace copy"
	saidDelete = "start replace delete"
	saidDone   = "replace finished"
)

// watchMoves sees what ends without a step of the map: a copy that full-replace was to
// compare is planned away, or its server detached.
func (m *Manager) watchMoves() {
	if len(m.waiters) > 0 || m.council.Leading() && (m.progress.state == saidCopy || m.progress.state == saidDelete) {
		m.report()
	}
}

// report says how a plan goes on, and answers those that wait for its end.
func (m *Manager) report() {
	copies, surplus := m.council.Moving()
	m.council.Progress(m.now()) // counts what was done
	say := ""
	switch {
	case copies > 0:
		say = saidCopy
	case surplus > 0:
		say = saidDelete
	case m.progress.state == saidCopy || m.progress.state == saidDelete:
		say = saidDone
	}
	var to []string
	if say == saidCopy && say != m.progress.state {
		if to = m.council.Receivers(); len(to) == 0 {
			say = "" // they are away: nothing is being copied yet
		}
	}
	if say != "" && say != m.progress.state {
		m.progress.state = say
		switch say {
		case saidCopy:
			m.log.Info(say, "copies", copies, "to", strings.Join(to, ","))
		case saidDelete:
			m.log.Info(say, "partitions", surplus)
		default:
			m.log.Info(say, "clock", m.council.Map().Version)
		}
	}
	if copies+surplus == 0 {
		for _, w := range m.waiters {
			w <- nil
		}
		m.waiters = nil
	}
}
