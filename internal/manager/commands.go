package manager

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/council"
)

var (
	errNoLeader = errors.New("no manager leads yet, or it cannot record the change; ask again")
	errUnknown  = errors.New("the change is being recorded, but that takes long: whether it will be made is not known yet; look at kumoctl status")
	errBackup   = errors.New("the servers were told to make a backup, but this manager ends: which of them did is not known; look for the directories")
	errLeadLost = errors.New("the command was carried out, but this manager ends, or ceased to lead, before everything was moved: it goes on, see kumoctl status")
)

// runCommand passes a command to the council and waits for its answer.
func (m *Manager) runCommand(ctx context.Context, req control.CommandRequest) (*control.CommandResponse, error) {
	begin := time.Now()
	r, err := m.await(ctx, func(id uint64) { m.council.Command(m.now(), id, req) })
	if err == nil && (strings.HasPrefix(req.Command, "detach") || req.Command == "remove") {
		if m.waitUnseated(ctx, begin.Add(commandTimeout)) != nil {
			r.Lines = append(r.Lines, "its witness still votes for the managers: another is to take its place")
		}
	}
	if err == nil && req.Wait && !r.Nothing {
		err = m.waitMoved(ctx)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// await has give, on the loop, give the council a command with a ticket, and
// waits for the answer.
func (m *Manager) await(ctx context.Context, give func(ticket uint64)) (*control.CommandResponse, error) {
	limit, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	t := &ticket{reply: make(chan council.Reply, 1)}
	var id uint64
	err := m.ask(limit, func() {
		m.next++
		id = m.next
		m.tickets[id] = t
		give(id)
	})
	if err != nil {
		return nil, err
	}
	var r council.Reply
	select {
	case r = <-t.reply:
	case <-limit.Done():
		begun := true
		if err := m.ask(context.WithoutCancel(ctx), func() { delete(m.tickets, id); begun = !m.council.Cancel(id) }); err != nil {
			return nil, errUnknown
		}
		if !begun {
			return nil, errNoLeader
		}
		select {
		case r = <-t.reply: // it came meanwhile
		default:
			return nil, errUnknown
		}
	case <-m.ctx.Done():
		return nil, errUnknown
	}
	if r.Err != "" {
		return nil, errors.New(r.Err)
	}
	return &r.Response, nil
}

// waitUnseated waits until no detached server's witness is a voter.
func (m *Manager) waitUnseated(ctx context.Context, end time.Time) error {
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	t := time.NewTicker(leaderStep)
	defer t.Stop()
	for {
		gone := false
		if err := m.ask(ctx, func() { m.elect(); gone = m.unseated() }); err != nil || gone {
			return err
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-m.ctx.Done():
			return errBusy
		}
	}
}

// waitMoved waits until no copy is to be made and nothing is to be moved.
func (m *Manager) waitMoved(ctx context.Context) error {
	w := make(chan error, 1)
	err := m.ask(ctx, func() {
		if !m.council.Leading() {
			w <- errLeadLost
			return
		}
		m.waiters = append(m.waiters, w)
		m.report()
	})
	if err != nil {
		return errLeadLost
	}
	select {
	case err := <-w:
		return err
	case <-ctx.Done():
		m.post(func() { m.waiters = slices.DeleteFunc(m.waiters, func(c chan error) bool { return c == w }) })
		return ctx.Err()
	case <-m.ctx.Done():
		return errLeadLost
	}
}

// backup is one backup command: which servers have not answered yet.
type backup struct {
	addrs map[clustermap.ServerID]string // waited for
	over  map[clustermap.ServerID]*link  // the links by which they were told
	lost  map[clustermap.ServerID]int64  // since when these are gone
	ok    []string
	bad   []string
	done  chan struct{}
}

// backupLost is how long, in ms, a server's answer is waited for after the link by
// which it was told has ended: it may come by the next, or never.
const backupLost = 10_000

// watchBackups gives up on servers whose answers do not come any more.
func (m *Manager) watchBackups() {
	now := m.now()
	for _, b := range m.backups {
		for id, addr := range b.addrs {
			switch since, gone := b.lost[id]; {
			case m.servers[id] == b.over[id]:
			case !gone:
				b.lost[id] = now
			case now-since > backupLost:
				b.failed(addr, "its connection broke, and it did not say what became of the backup")
				delete(b.addrs, id)
				b.check()
			}
		}
	}
}

func (b *backup) failed(addr, why string) { b.bad = append(b.bad, addr+": "+why) }

func (b *backup) check() {
	if len(b.addrs) == 0 {
		close(b.done)
	}
}

// runBackup has every active server make a checkpoint.
func (m *Manager) runBackup(ctx context.Context, req control.CommandRequest) (*control.CommandResponse, error) {
	suffix := time.Now().Format("20060102")
	if len(req.Args) > 0 && req.Args[0] != "" {
		suffix = req.Args[0]
	}
	if strings.Trim(suffix, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != "" || len(suffix) > 100 {
		return nil, fmt.Errorf("backup: the suffix %q may have letters, digits, '.', '_' and '-' only", suffix)
	}
	if !req.Wait {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, commandTimeout)
		defer cancel()
	}
	b := &backup{addrs: map[clustermap.ServerID]string{}, over: map[clustermap.ServerID]*link{}, lost: map[clustermap.ServerID]int64{}, done: make(chan struct{})}
	var id, clock uint64
	if err := m.ask(ctx, func() { id, clock = m.startBackup(b, suffix), m.council.Map().Version }); err != nil {
		return nil, err
	}
	select {
	case <-b.done:
	case <-ctx.Done():
	case <-m.ctx.Done():
		return nil, errBackup
	}
	resp := &control.CommandResponse{Lines: []string{"suffix=" + suffix}, Clock: clock}
	var bad []string
	if err := m.ask(context.WithoutCancel(ctx), func() {
		delete(m.backups, id)
		for _, addr := range b.addrs {
			b.failed(addr, "no answer in time")
		}
		resp.Nodes, bad = b.ok, b.bad
	}); err != nil {
		return nil, errBackup
	}
	slices.SortFunc(resp.Nodes, council.CompareAddr)
	slices.Sort(bad)
	if len(bad) > 0 {
		done := ""
		if len(resp.Nodes) > 0 {
			done = "; made on " + strings.Join(resp.Nodes, ", ")
		}
		return nil, fmt.Errorf("backup %s failed on %s%s", suffix, strings.Join(bad, "; "), done)
	}
	for _, addr := range resp.Nodes {
		resp.Lines = append(resp.Lines, "made a backup on "+addr)
	}
	if len(resp.Nodes) == 0 {
		resp.Lines, resp.Nothing = []string{"there is no active server"}, true
	}
	return resp, nil
}

func (m *Manager) startBackup(b *backup, suffix string) uint64 {
	m.next++
	id := m.next
	m.backups[id] = b
	for _, s := range m.council.Map().Servers {
		switch k := m.servers[s.ID]; {
		case s.State != clustermap.Active:
		case k == nil:
			b.failed(s.Addr, "not connected")
		default:
			b.addrs[s.ID], b.over[s.ID] = s.Addr, k
			k.s.Send(control.Frame(control.KindCommand, control.Command{ID: id, Name: "backup", Arg: suffix}))
		}
	}
	b.check()
	return id
}

func (m *Manager) backupResult(from clustermap.ServerID, r control.Result) {
	b := m.backups[r.ID]
	if b == nil || b.addrs[from] == "" {
		return
	}
	if r.Error != "" {
		b.failed(b.addrs[from], r.Error)
	} else {
		b.ok = append(b.ok, b.addrs[from])
	}
	delete(b.addrs, from)
	b.check()
}
