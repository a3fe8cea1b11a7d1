package manager

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/council"
)

// still is a manager whose loop does not run.
func still() *Manager {
	cfg := Config{Listen: "127.0.0.1:1"}
	if err := cfg.fill(); err != nil {
		panic(err)
	}
	m := newManager(cfg)
	m.council = council.New(council.Config{})
	return m
}

// What was answered with "ask again" is not done later: the next manager is asked.
func TestGivenUpIsNotDoneLater(t *testing.T) {
	m := still()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	done := false
	if err := m.ask(ctx, func() { done = true }); !errors.Is(err, errBusy) {
		t.Fatal(err)
	}
	(<-m.inbox)()
	if done {
		t.Error("it was done after all")
	}
}

// Who waits for copies is told when the manager ceases to lead.
func TestWaitersAreToldThatTheLeadIsLost(t *testing.T) {
	m := still()
	w := make(chan error, 1)
	m.waiters = append(m.waiters, w)
	m.leadership(false)
	select {
	case err := <-w:
		if !errors.Is(err, errLeadLost) {
			t.Error(err)
		}
	default:
		t.Error("it still waits")
	}
	if len(m.waiters) != 0 {
		t.Error("kept")
	}
}

// A backup does not wait for ever for a server that is gone, or that came back as
// another run.
func TestBackupGivesUpTheLost(t *testing.T) {
	m := still()
	old := &link{}
	b := &backup{addrs: map[clustermap.ServerID]string{1: "a", 2: "b"}, over: map[clustermap.ServerID]*link{1: old, 2: old},
		lost: map[clustermap.ServerID]int64{}, done: make(chan struct{})}
	m.backups[5] = b
	m.servers[1], m.servers[2] = old, old
	m.watchBackups()
	m.servers[2] = &link{}
	m.watchBackups()
	if _, gone := b.lost[2]; !gone || len(b.lost) != 1 || len(b.addrs) != 2 {
		t.Fatalf("%+v", b)
	}
	b.lost[2] -= backupLost + 1
	m.watchBackups()
	m.backupResult(1, control.Result{ID: 5})
	select {
	case <-b.done:
	default:
		t.Fatalf("still waits for %v", b.addrs)
	}
	if len(b.bad) != 1 || !strings.HasPrefix(b.bad[0], "b: its connection broke") || len(b.ok) != 1 {
		t.Errorf("%v %v", b.ok, b.bad)
	}
}

// An answer to an order of another manager is not taken for one of this manager's.
func TestOrdersAreAnsweredByWhoWasTold(t *testing.T) {
	m := still()
	m.orders[7] = order{server: 1, begin: true}
	m.ordered(2, control.Result{ID: 7, Text: "w-2"})
	if _, waits := m.orders[7]; !waits || m.staffOf(1).witness != "" {
		t.Error("server 2 answered for server 1")
	}
	m.ordered(1, control.Result{ID: 7, Text: "w-1"})
	if m.staffOf(1).witness != "w-1" {
		t.Error("server 1 was not heard")
	}
	if a, b := still().next, still().next; a == b || a == 0 {
		t.Errorf("managers number alike: %d %d", a, b)
	}
}

// Who waits for copies is told also where the last of them is given up without a step
// of the map: council's TestComparisonEndsWithoutAStep.
func TestWaitersAreToldWithoutAStep(t *testing.T) {
	m := still()
	w := make(chan error, 1)
	m.waiters = append(m.waiters, w)
	m.watchMoves()
	select {
	case err := <-w:
		if err != nil {
			t.Error(err)
		}
	default:
		t.Error("it still waits")
	}
}
