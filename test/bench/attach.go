package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kumofs/kumofs/internal/tools/bench"
)

// attach is a fourth server: how fast it is filled, and what clients see of it.
func (r *run) attach() error {
	return errors.Join(r.attachSpeed(), r.attachTail())
}

// attachSpeed attaches without a limit and without load.
func (r *run) attachSpeed() error {
	c, err := r.cluster(clusterOptions{name: "kumofs, no limit", servers: 3, args: []string{"--replace-rate", "0"}})
	if err != nil {
		return err
	}
	defer c.end()
	if err := r.fill(c.system, r.attachKeys); err != nil {
		return err
	}
	var rates, overs []float64
	// Of three copies on four servers the new one has its share.
	ideal := float64(r.attachKeys) * 3 / 4 * itemSize
	for i := range r.rounds {
		r.say("attach %d of %d", i+1, r.rounds)
		took, moved, err := c.attachCounted()
		if err != nil {
			return err
		}
		rates = append(rates, moved/1e6/took.Seconds())
		overs = append(overs, moved/ideal)
		if err := c.remove(); err != nil {
			return err
		}
	}
	what := fmt.Sprintf("a fourth server attached, %d keys of 100 B, no limit: ", r.attachKeys)
	r.atLeast(what+"moved in a second", spread(rates...), 40, "MB/s")
	r.atMost(what+"bytes moved of the ideal", spread(overs...), 1.1, "")
	r.note("Bytes moved are what servers count as sent in copies (copy_bytes_sent of kumostat); the ideal is %.1f MB, keys and values of three quarters of all pairs. Time is from the command until every copy is where it belongs.", ideal/1e6)
	return nil
}

// attachCounted starts a further server, attaches it, and counts what is copied.
func (c *cluster) attachCounted() (took time.Duration, moved float64, err error) {
	const counter = "copy_bytes_sent"
	before, err := c.counted(counter)
	if err != nil {
		return 0, 0, err
	}
	if _, err := c.add(); err != nil {
		return 0, 0, err
	}
	if took, err = c.attach(); err != nil {
		return 0, 0, err
	}
	after, err := c.counted(counter)
	return took, after - before, err
}

// attachTail attaches under load, with the limit that servers have by themselves.
func (r *run) attachTail() error {
	c, err := r.cluster(clusterOptions{name: "kumofs, 3 copies, gateway", servers: 3})
	if err != nil {
		return err
	}
	defer c.end()
	if err := r.fill(c.system, r.attachKeys); err != nil {
		return err
	}
	load := r.load()
	load.Keys = r.attachKeys
	if load.Rate, err = r.half("GET", load, false, c.system); err != nil {
		return err
	}
	load.WarmUp = 0
	session, err := bench.Open(r.ctx, c.System, load)
	if err != nil {
		return err
	}
	defer session.Close()
	var without, with []*bench.Result
	for i := range r.rounds {
		r.say("attach under load %d of %d", i+1, r.rounds)
		alone, err := measureUntil(r.ctx, session, func() error { return r.sleep(r.attachTime) })
		if err != nil {
			return err
		}
		beside, err := measureUntil(r.ctx, session, func() error {
			_, _, err := c.attachCounted()
			return err
		})
		if err != nil {
			return err
		}
		without, with = append(without, alone), append(with, beside)
		if err := c.remove(); err != nil {
			return err
		}
	}
	r.figures = append(r.figures, figure{"GET at half of that rate", c.Name, bench.Summarize(without)},
		figure{"the same while a fourth server is attached", c.Name, bench.Summarize(with)})
	r.atMost(fmt.Sprintf("p99 of GET while a fourth server is attached, %d keys: of its own without", r.attachKeys), &bench.Ratios(with, without).P99, 3, "")
	r.note("The load is an open loop of %d GETs a second through the gateway, half of the maximal rate; the copies are limited to 64 MiB/s, as they are by themselves.", load.Rate)
	return nil
}

// measureUntil measures an open loop for as long as do takes.
func measureUntil(ctx context.Context, session *bench.Session, do func() error) (*bench.Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		*bench.Result
		error
	}
	done := make(chan answer, 1)
	go func() {
		r, err := session.Measure(ctx)
		done <- answer{r, err}
	}()
	err := do()
	cancel()
	a := <-done
	if err = errors.Join(err, a.error); err != nil {
		return nil, err
	}
	return a.Result, a.Check()
}

// fill stores every key, many at a time.
func (r *run) fill(s *system, keys uint64) error {
	load := r.load()
	load.Keys, load.Pipeline = keys, 16
	r.say("storing %d keys in %s", keys, s.Name)
	session, err := bench.Open(r.ctx, s.System, load)
	if err != nil {
		return err
	}
	defer session.Close()
	return session.Fill(r.ctx)
}
