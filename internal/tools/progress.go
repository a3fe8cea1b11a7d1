package tools

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// progress shows how far something is: a bar that is written over on a terminal, a line
// now and then elsewhere.
type progress struct {
	out      io.Writer // nil: nothing is shown
	terminal bool
	what     string // "backup"
	of       int    // partitions
	began    time.Time

	mu    sync.Mutex
	done  int // partitions
	first int // partitions that were done before
	bytes int64
	note  string

	stop chan struct{}
	gone sync.WaitGroup
}

const (
	barEvery  = 250 * time.Millisecond
	lineEvery = 5 * time.Second
)

// newProgress begins; end ends it. done of the partitions are done already.
func newProgress(out io.Writer, terminal bool, what string, done, of int) *progress {
	p := &progress{out: out, terminal: terminal, what: what, of: of, done: done, first: done, began: time.Now(), stop: make(chan struct{})}
	if out == nil {
		return p
	}
	every := lineEvery
	if terminal {
		every = barEvery
	}
	p.gone.Go(func() {
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				p.show()
			case <-p.stop:
				return
			}
		}
	})
	return p
}

func (p *progress) add(bytes int) {
	p.mu.Lock()
	p.bytes += int64(bytes)
	p.mu.Unlock()
}

func (p *progress) partition() {
	p.mu.Lock()
	p.done++
	p.mu.Unlock()
}

// say notes what goes wrong at the moment; "" is nothing.
func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	p.note = fmt.Sprintf(format, args...)
	p.mu.Unlock()
}

func (p *progress) show() {
	line := p.line(time.Now())
	if p.terminal {
		fmt.Fprintf(p.out, "\r\x1b[K%s", line)
		return
	}
	fmt.Fprintln(p.out, line)
}

// line is how far it is at now. What is left is reckoned from what came so far.
func (p *progress) line(now time.Time) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	if p.terminal {
		full := barWidth * p.done / max(p.of, 1)
		fmt.Fprintf(&b, "[%s%s] ", strings.Repeat("#", full), strings.Repeat(".", barWidth-full))
	}
	took := now.Sub(p.began)
	rate := float64(p.bytes) / max(took.Seconds(), 0.001)
	fmt.Fprintf(&b, "%s: %d of %d partitions, %s at %s/s", p.what, p.done, p.of, showBytes(uint64(p.bytes)), showBytes(uint64(rate)))
	if n := p.done - p.first; n > 0 && p.done < p.of {
		left := p.of - p.done
		fmt.Fprintf(&b, ", about %s left, %v to go", showBytes(uint64(p.bytes/int64(n)*int64(left))), (took / time.Duration(n) * time.Duration(left)).Round(time.Second))
	}
	if p.note != "" {
		fmt.Fprintf(&b, "; %s", p.note)
	}
	return b.String()
}

// end shows the last state and stops.
func (p *progress) end() {
	close(p.stop)
	p.gone.Wait()
	if p.out != nil && p.terminal {
		p.show()
		fmt.Fprintln(p.out)
	}
}

// plural is "1 pair" or "5 pairs".
func plural(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
