package differential

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Options of a Run.
type Options struct {
	// Reference and Subject are HOST:PORT of the two. Reference may be "": the subject
	// alone is asked, also what 1.6.18 does not know, and only has to answer in form.
	Reference, Subject string
	Seed               uint64
	Commands           int // how many, at least
	Depth              int // of the deepest pipeline; 0 is 100
	Protocols          int // 0 is all
	// Large has values beyond 1 MiB among the others, which both must take.
	Large bool
	// Limit is how long an answer may take; 0 is 20 s.
	Limit time.Duration
	// Reduce is how long to look for the shortest dialogue; 0 is a minute.
	Reduce time.Duration
}

// Report is what came of it.
type Report struct {
	Commands, Batches int
	Explained         map[string]int
	Answers           map[string]int // of the reference, by kind
	Difference        string         // "" if there is none that is not explained
}

// episodeCommands is how long a dialogue is before both begin again from nothing: so
// long a difference has to be looked for.
const episodeCommands = 1000

// Run compares until enough commands agree or one does not. The error is of what is
// no difference: a server that cannot be reached.
func Run(opt Options) (rep Report, err error) {
	if opt.Depth == 0 {
		opt.Depth = 100
	}
	if opt.Protocols == 0 {
		opt.Protocols = Text | Meta | Binary
	}
	if opt.Limit == 0 {
		opt.Limit = 20 * time.Second
	}
	if opt.Reduce == 0 {
		opt.Reduce = time.Minute
	}
	s := newSession(opt.Reference, opt.Subject, opt.Limit)
	defer s.close()
	rep.Explained, rep.Answers = s.explained, s.answers
	for episode := uint64(0); rep.Commands < opt.Commands; episode++ {
		if err := s.reset(); err != nil {
			return rep, err
		}
		g := &generator{Rand: rand.New(rand.NewPCG(opt.Seed, episode)), protocols: opt.Protocols, depth: opt.Depth, newer: opt.Reference == "", large: opt.Large}
		var dialogue []batch
		for n := 0; n < episodeCommands; {
			b := g.batch()
			dialogue = append(dialogue, b)
			difference := s.try(b)
			n += len(b)
			rep.Commands += len(b)
			rep.Batches++
			if difference != "" {
				rep.Difference = opt.reduce(dialogue, difference)
				return rep, nil
			}
		}
	}
	return rep, nil
}

// reduce drops commands while the two still differ, and tells of what is left.
func (opt Options) reduce(dialogue []batch, difference string) string {
	end := time.Now().Add(opt.Reduce)
	// An answer that does not come is waited for less long: most of the tries end so.
	limit := min(opt.Limit, 2*time.Second)
	differs := func(d []batch) (string, error) {
		s := newSession(opt.Reference, opt.Subject, limit)
		defer s.close()
		if err := s.reset(); err != nil {
			return "", err
		}
		for _, b := range d {
			if len(b) == 0 {
				continue
			}
			if what := s.try(b); what != "" {
				return what, nil
			}
		}
		return "", nil
	}
	again, err := differs(dialogue)
	if err != nil || again == "" {
		return fmt.Sprintf("%s\n(it does not happen again; %v)\nthe last batch was\n%s", difference, err, show(dialogue[len(dialogue)-1:]))
	}
	best := again
	total := 0
	for _, b := range dialogue {
		total += len(b)
	}
	tries := 0
	for chunk := total / 2; chunk > 0 && time.Now().Before(end); {
		dropped := false
		for from := 0; from < total && time.Now().Before(end); {
			less := without(dialogue, from, from+chunk)
			tries++
			if what, err := differs(less); err == nil && what != "" {
				dialogue, best, dropped = less, what, true
				total = 0
				for _, b := range dialogue {
					total += len(b)
				}
			} else {
				from += chunk
			}
		}
		switch {
		case chunk > 1:
			chunk = min(chunk/2, max(1, total/2))
		case !dropped:
			chunk = 0
		}
	}
	return fmt.Sprintf("%s\nthe shortest dialogue after a flush_all, %d commands (%d tries):\n%s", best, total, tries, show(dialogue))
}

// without is a dialogue less its commands from to to.
func without(dialogue []batch, from, to int) []batch {
	var out []batch
	i := 0
	for _, b := range dialogue {
		var left batch
		for _, c := range b {
			if i < from || i >= to {
				left = append(left, c)
			}
			i++
		}
		if len(left) > 0 {
			out = append(out, left)
		}
	}
	return out
}

// show is a dialogue for a person: one command a line, a line between those that are
// not sent together.
func show(dialogue []batch) string {
	var b strings.Builder
	for _, commands := range dialogue {
		if len(commands) == 0 {
			continue
		}
		name := "text"
		if commands.binary() {
			name = "binary"
		}
		fmt.Fprintf(&b, "  -- %s\n", name)
		for _, c := range commands {
			fmt.Fprintf(&b, "  %s\n", c)
		}
	}
	return b.String()
}
