package council

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/kumofs/kumofs/internal/clustermap"
)

// copying changes how copies are made, for all servers: its arguments are "pause",
// "resume", "rate=BYTES" (a second; 0: as each server's --replace-rate) and "at-once=N"
// (0: as many as servers like).
func (c *Council) copying(q *command) (*clustermap.Delta, error) {
	if c.m.ClusterID == 0 {
		return nil, errNothingAttached
	}
	how := c.m.Copying
	for _, arg := range q.req.Args {
		name, value, _ := strings.Cut(arg, "=")
		n, err := strconv.ParseInt(value, 10, 64)
		switch {
		case arg == "pause":
			how.Paused = true
		case arg == "resume":
			how.Paused = false
		case name == "rate" && err == nil && n >= 0:
			how.Rate = n
		case name == "at-once" && err == nil && n >= 0 && n <= clustermap.MaxAtOnce:
			how.AtOnce = int(n)
		default:
			return nil, fmt.Errorf("copying: %q is not understood; is this manager older than kumoctl?", arg)
		}
	}
	copies, _ := c.Moving()
	switch {
	case how.Paused && !c.m.Copying.Paused:
		q.say("paused: %d copies wait; those that are being sent are finished", copies)
	case !how.Paused && c.m.Copying.Paused:
		q.say("resumed: %d copies are to be made", copies)
	case how == c.m.Copying:
		q.say("nothing changes: %s", describe(how))
		return nil, nil
	}
	if how.Rate != c.m.Copying.Rate || how.AtOnce != c.m.Copying.AtOnce {
		q.say("each server sends %s", describe(how))
	}
	return &clustermap.Delta{Copying: &how}, nil
}

// describe is in words for a person.
func describe(how clustermap.Copying) string {
	rate, atOnce := "as its --replace-rate allows", "as many copies at a time as it likes"
	if how.Rate > 0 {
		rate = fmt.Sprintf("%d bytes a second at most", how.Rate)
	}
	if how.AtOnce > 0 {
		atOnce = fmt.Sprintf("%d copies at a time at most", how.AtOnce)
	}
	s := rate + ", " + atOnce
	if how.Paused {
		s += ", paused"
	}
	return s
}

// describeUnless is describe of what is not the default.
func describeUnless(how clustermap.Copying) string {
	if how == (clustermap.Copying{}) {
		return ""
	}
	return describe(how)
}

// cancelMoves makes what there is the plan, where there is enough: copies that a
// partition has too few of are made all the same. What was moved stays where it is.
func (c *Council) cancelMoves(now int64, q *command) (*clustermap.Delta, error) {
	if c.m.ClusterID == 0 {
		return nil, errNothingAttached
	}
	ed := c.edit(now)
	active := 0
	for i := range c.m.Servers {
		if c.m.Servers[i].State == clustermap.Active {
			active++
		}
	}
	enough := min(c.m.Replication, active)
	if enough == 0 {
		return nil, errors.New("no attached server is active; give: kumoctl ADDR attach")
	}
	given, left := 0, 0
	for i := range ed.m.Partitions {
		p := &ed.m.Partitions[i]
		wanted := len(filter(p.Assigned, func(id ID) bool {
			s := c.m.Server(id)
			return s != nil && s.State == clustermap.Active && !slices.Contains(p.Replicas, id)
		}))
		if wanted == 0 || !p.Active || usedUp(p) {
			left += wanted
			continue
		}
		there := filter(p.Replicas, func(id ID) bool { s := c.m.Server(id); return s != nil && s.State == clustermap.Active })
		if len(there) < enough {
			left += wanted
			continue
		}
		given += wanted
		np := *p
		if len(p.Joining) > 0 {
			np = next(*p, keep, p.Replicas, nil)
		}
		np.Assigned = there[:enough]
		*p = np
	}
	given += c.verify.cancel()
	switch {
	case given == 0 && left == 0:
		q.nothing("nothing to cancel: no copies are being made")
	case given == 0:
		q.nothing("nothing to cancel: the %d copies that are being made are of partitions with too few", left)
	case left > 0:
		q.say("cancelled %d copies; %d of partitions that have too few go on", given, left)
	default:
		q.say("cancelled %d copies", given)
	}
	return ed.delta(), nil
}
