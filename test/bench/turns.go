package main

import (
	"fmt"

	"github.com/kumofs/kumofs/internal/tools/bench"
)

// results are those of each system by round.
type results map[*system][]*bench.Result

// turns measures systems in turns under a load and notes their figures. Whatever is not
// answered, or wrongly, is an error.
func (r *run) turns(what string, load bench.Load, fill bool, systems ...*system) (results, error) {
	r.say("%s: %d rounds of %d systems", what, r.rounds, len(systems))
	var list []bench.System
	for _, s := range systems {
		list = append(list, s.System)
	}
	rounds, err := bench.Compare(r.ctx, list, load, r.rounds, fill)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	out := results{}
	for i, s := range systems {
		for _, one := range rounds[i] {
			if err := one.Check(); err != nil {
				return nil, fmt.Errorf("%s, %s: %w%s", what, s.Name, err, s.logs())
			}
		}
		out[s] = rounds[i]
		r.figures = append(r.figures, figure{what, s.Name, bench.Summarize(rounds[i])})
	}
	return out, nil
}

// ratio is how a system's figures are to another's, by round.
func (m results) ratio(a, b *system) *bench.Summary { return bench.Ratios(m[a], m[b]) }

// spread is that of figures that were measured by other means.
func spread(values ...float64) *bench.Spread { return bench.SpreadOf(values) }
