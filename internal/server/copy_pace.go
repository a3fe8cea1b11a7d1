package server

import (
	"bytes"
	"os"
	"strconv"
	"time"
)

// A copy of a partition that has all its copies, but elsewhere than it will, is in no
// hurry. While clients ask for movingLoad operations a second or more, each worker rests after
// such a copy: movingLongest at first, less and less, down to nothing, while more than spareHigh of the
// machine's processors is idle, and longer again while less than spareLow is. By --replace-rate
// alone small copies would take all of them, and clients would wait in the queue.
const (
	movingLoad    = 10
	movingFirst   = 2 * time.Millisecond
	movingLongest = 250 * time.Millisecond
	spareLow      = 0.30
	spareHigh     = 0.45
	// paceEvery is how often that is looked at; paceForget is when what was learned is forgotten.
	paceEvery  = 100 * time.Millisecond
	paceForget = 10 * time.Second
)

// pacer tells how long to rest after copies. Times of processors are in any unit, since any time.
type pacer struct {
	processors func() (idle, all uint64, ok bool)

	at        time.Time // of the last look
	served    uint64    // operations, then
	idle, all uint64
	busy      bool // clients ask for much
	length    time.Duration
}

// rest is for how long to rest at now, when clients have asked for served operations in all.
func (p *pacer) rest(now time.Time, served uint64) time.Duration {
	if d := now.Sub(p.at); d >= paceEvery {
		if d > paceForget {
			p.busy, p.length, p.all = served > p.served, movingLongest, 0
		} else {
			p.busy = float64(served-p.served) >= movingLoad*d.Seconds()
		}
		p.at, p.served = now, served
		p.adjust()
	}
	if !p.busy {
		return 0
	}
	return p.length
}

func (p *pacer) adjust() {
	idle, all, ok := p.processors()
	if !ok {
		p.length = movingLongest
		return
	}
	spare := spareHigh // nothing is known of a first look, or one too soon
	if p.all != 0 && all > p.all {
		spare = float64(idle-p.idle) / float64(all-p.all)
	}
	p.idle, p.all = idle, all
	switch {
	case spare < spareLow:
		p.length = min(max(2*p.length, movingFirst), movingLongest)
	case spare > spareHigh && p.length <= movingFirst:
		p.length = 0
	case spare > spareHigh:
		p.length -= p.length / 4
	}
}

// processors reads how long this machine's processors were idle, and how long there have
// been any. ok is false where there is no /proc/stat.
func processors() (idle, all uint64, ok bool) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, false
	}
	return parseProcessors(b)
}

// parseProcessors reads the first line of /proc/stat (proc(5)): "cpu" and the time in user,
// nice, system, idle, iowait, irq, softirq, steal; then guest and guest_nice, which are in user and nice.
func parseProcessors(b []byte) (idle, all uint64, ok bool) {
	line, _, _ := bytes.Cut(b, []byte{'\n'})
	fields := bytes.Fields(line)
	if len(fields) < 6 || string(fields[0]) != "cpu" {
		return 0, 0, false
	}
	for i, f := range fields[1:min(len(fields), 9)] {
		n, err := strconv.ParseUint(string(f), 10, 64)
		if err != nil {
			return 0, 0, false
		}
		if all += n; i == 3 || i == 4 { // one that waits for a disk is idle
			idle += n
		}
	}
	return idle, all, true
}
