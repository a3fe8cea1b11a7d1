package council

import (
	"fmt"
	"slices"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
)

// command is one that waits or is being committed. Ticket 0 is auto-replace's.
type command struct {
	ticket   uint64
	req      control.CommandRequest
	at       int64
	only     []ID // auto-replace: the servers it is about
	response control.CommandResponse
	found    []Found // for recover
}

// Command takes a command; a Reply with the ticket, which is not 0, answers it
// from a later Next. Commands run one after another.
func (c *Council) Command(now int64, ticket uint64, req control.CommandRequest) {
	c.commands = append(c.commands, &command{ticket: ticket, req: req, at: now})
}

// Cancel forgets a command that has not begun, and tells whether there was one.
func (c *Council) Cancel(ticket uint64) bool {
	n := len(c.commands)
	c.commands = slices.DeleteFunc(c.commands, func(q *command) bool { return q.ticket == ticket })
	return len(c.commands) < n
}

func (c *Council) fail(q *command, why string) {
	if q.ticket == 0 {
		c.autoPlan = false
		return
	}
	c.replies = append(c.replies, Reply{Ticket: q.ticket, Err: why})
}

// runCommands runs the commands at the head of the queue up to one that needs a
// delta, or has to wait.
func (c *Council) runCommands(now int64) *clustermap.Delta {
	for len(c.commands) > 0 {
		q := c.commands[0]
		d, wait, err := c.run(now, q)
		if wait {
			return nil
		}
		c.commands = c.commands[1:]
		if d != nil {
			d.Base = c.m.Version
			c.proposed = q
			return d
		}
		if err != nil {
			c.fail(q, err.Error())
			continue
		}
		if q.ticket == 0 {
			c.autoPlan = false
			continue
		}
		q.response.Clock = c.m.Version
		c.replies = append(c.replies, Reply{Ticket: q.ticket, Response: q.response})
	}
	return nil
}

func (q *command) say(format string, a ...any) {
	q.response.Lines = append(q.response.Lines, fmt.Sprintf(format, a...))
}

func (q *command) nothing(format string, a ...any) {
	q.say(format, a...)
	q.response.Nothing = true
}

func (c *Council) run(now int64, q *command) (d *clustermap.Delta, wait bool, err error) {
	switch q.req.Command {
	case "attach", "attach-noreplace":
		return c.attach(now, q, q.req.Command == "attach")
	case "detach", "remove", "detach-noreplace":
		return c.detach(now, q, q.req.Command != "detach-noreplace")
	case "recover":
		return c.recover(now, q)
	case "replace":
		d, err = c.replace(now, q)
	case "full-replace":
		d, err = c.fullReplace(now, q)
	case "copying":
		d, err = c.copying(q)
	case "cancel":
		d, err = c.cancelMoves(now, q)
	case "enable-auto-replace", "disable-auto-replace":
		d = c.setAutoReplace(q, q.req.Command == "enable-auto-replace")
	default:
		err = fmt.Errorf("unknown command %q", q.req.Command)
	}
	return d, false, err
}

func (c *Council) replace(now int64, q *command) (*clustermap.Delta, error) {
	if c.m.ClusterID == 0 {
		return nil, errNothingAttached
	}
	ed := c.edit(now)
	if err := ed.plan(); err != nil {
		return nil, err
	}
	d := ed.delta()
	copies, surplus := c.Moving()
	if d == nil {
		if copies+surplus == 0 {
			q.nothing("nothing to replace: every partition is where it should be")
		} else {
			q.say("nothing more to plan: %d copies are still to be made", copies)
		}
		return nil, nil
	}
	q.say("replacing: %d copies are to be made", ed.copies())
	return d, nil
}

func (c *Council) fullReplace(now int64, q *command) (*clustermap.Delta, error) {
	if c.m.ClusterID == 0 {
		return nil, errNothingAttached
	}
	ed := c.edit(now)
	if err := ed.plan(); err != nil {
		return nil, err
	}
	copies, left := c.verify.begin(ed.m)
	q.say("replacing: %d copies are to be made, %d are compared with their primaries", ed.copies(), copies)
	if left > 0 {
		q.say("%d partitions have fewer than three copies and are not compared", left)
	}
	q.response.Nothing = copies == 0 && ed.copies() == 0
	return ed.delta(), nil
}

func (c *Council) setAutoReplace(q *command, on bool) *clustermap.Delta {
	word := "disabled"
	if on {
		word = "enabled"
	}
	if c.m.ClusterID == 0 {
		c.cfg.AutoReplace, c.autoOn = on, on
		q.say("auto-replace %s (nothing is attached yet: it is recorded with the first attach)", word)
		return nil
	}
	if c.m.AutoReplace == on {
		q.say("auto-replace is %s already", word)
		return nil
	}
	q.say("auto-replace %s", word)
	return &clustermap.Delta{AutoReplace: &on}
}

// auto queues what auto-replace would do: attach what has waited for ReplaceDelay
// (-Rs), detach what has been fault for DetachDelay.
func (c *Council) auto(now int64) {
	for id := range c.faultSince {
		if s := c.m.Server(id); s == nil || s.State != clustermap.Fault {
			delete(c.faultSince, id)
		}
	}
	var gone []ID
	for i := range c.m.Servers {
		s := &c.m.Servers[i]
		if s.State != clustermap.Fault {
			continue
		}
		since, ok := c.faultSince[s.ID]
		if !ok {
			c.faultSince[s.ID], since = now, now
		}
		if now-since >= c.cfg.DetachDelay && !c.alive(now, s.ID) {
			gone = append(gone, s.ID)
		}
	}
	on := c.m.AutoReplace || c.m.ClusterID == 0 && c.cfg.AutoReplace
	if !on || c.autoPlan || len(c.commands) > 0 {
		return
	}
	var come []ID
	settled := true
	for _, id := range c.attachable(now) {
		if waited := now - c.members[id].arrived; waited >= c.cfg.ReplaceDelay {
			come = append(come, id)
		} else {
			settled = false
		}
	}
	queue := func(name string, ids []ID) {
		c.autoPlan = true
		c.commands = append(c.commands, &command{req: control.CommandRequest{Command: name}, at: now, only: ids})
	}
	switch {
	case len(come) > 0 && (settled || c.m.ClusterID != 0):
		queue("attach", come)
	case len(gone) > 0 && c.lastOf(now, gone) == nil:
		queue("detach", gone)
	}
}
