package council

import "github.com/kumofs/kumofs/internal/control"

// progressWindow is over how long the rate of copying is taken, in ms.
const progressWindow = 10_000

// progress is how far the copying has come that is under way: counted from when this
// manager first saw it.
type progress struct {
	began      int64
	left, done int    // copies
	bytes      uint64 // sent
	samples    []sample
}

type sample struct {
	at    int64
	bytes uint64
}

// sent counts what a server says that it has sent since it started.
func (c *Council) sent(now int64, s *member, bytes uint64) {
	if s.counted { // what it had sent before this manager knew it is of another time
		p := &c.progress
		if bytes < s.copyBytes {
			p.bytes += bytes // another run
		} else {
			p.bytes += bytes - s.copyBytes
		}
		if n := len(p.samples); n == 0 || now-p.samples[n-1].at >= progressWindow/50 {
			p.samples = append(p.samples, sample{now, p.bytes})
		}
		for len(p.samples) > 1 && now-p.samples[0].at > progressWindow {
			p.samples = p.samples[1:]
		}
	}
	s.copyBytes, s.counted = bytes, true
}

// follow notes how many copies are left now.
func (p *progress) follow(now int64, left int) {
	if p.left == 0 && left > 0 {
		*p = progress{began: now, left: left, samples: []sample{{now, 0}}}
		return
	}
	if left < p.left {
		p.done += p.left - left
	}
	p.left = left
}

// Progress is how far the copying that is under way has come; nil: there is none.
func (c *Council) Progress(now int64) *control.Progress {
	copies, surplus := c.Moving()
	p := &c.progress
	p.follow(now, copies)
	if copies+surplus == 0 {
		return nil
	}
	out := &control.Progress{PartitionsDone: p.done, PartitionsLeft: copies, BytesDone: p.bytes, Seconds: (now - p.began) / 1000,
		Paused: c.m.Copying.Paused, SecondsLeft: -1, BytesLeft: -1}
	if len(p.samples) > 0 {
		if first := p.samples[0]; now > first.at {
			out.BytesPerSecond = (p.bytes - first.bytes) * 1000 / uint64(now-first.at)
		}
	}
	if p.done > 0 {
		// What is left is taken to be like what was done.
		out.BytesLeft = int64(p.bytes / uint64(p.done) * uint64(copies))
		if p.bytes > 0 && out.BytesPerSecond > 0 {
			out.SecondsLeft = int64((uint64(out.BytesLeft) + out.BytesPerSecond - 1) / out.BytesPerSecond)
		}
	}
	return out
}
