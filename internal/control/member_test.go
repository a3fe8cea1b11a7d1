package control

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
)

// mapOf is a map of one server, and the delta that made it.
func mapOf(t *testing.T) (*clustermap.Map, *clustermap.Delta) {
	t.Helper()
	d := &clustermap.Delta{Create: &clustermap.Creation{ClusterID: 7, Partitions: 4, Replication: 3},
		SetServers: []clustermap.Server{{ID: 1, Addr: "10.0.0.1:1", Incarnation: 1}}}
	m, err := (*clustermap.Map)(nil).Apply(d)
	if err != nil {
		t.Fatal(err)
	}
	return m, d
}

func step(t *testing.T, m *clustermap.Map) (*clustermap.Map, []byte) {
	t.Helper()
	on := !m.AutoReplace
	d := &clustermap.Delta{Base: m.Version, AutoReplace: &on}
	n, err := m.Apply(d)
	if err != nil {
		t.Fatal(err)
	}
	return n, AppendFrame(nil, KindDelta, clustermap.AppendDelta(nil, d))
}

type watcher struct {
	mu       sync.Mutex
	versions []uint64
	ups      int
	changed  chan struct{}
}

func (w *watcher) note(f func()) {
	w.mu.Lock()
	f()
	w.mu.Unlock()
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

func (w *watcher) wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	end := time.After(10 * time.Second)
	for {
		w.mu.Lock()
		done := ok()
		w.mu.Unlock()
		if done {
			return
		}
		select {
		case <-w.changed:
		case <-time.After(20 * time.Millisecond):
		case <-end:
			t.Fatal(what + ": not within 10 s")
		}
	}
}

func accept(t *testing.T, l net.Listener) *Session {
	t.Helper()
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s, err := Accept(nc)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestMemberFollowsAndReconnects(t *testing.T) {
	l := listen(t)
	defer l.Close()
	w := &watcher{changed: make(chan struct{}, 1)}
	gone := listen(t)
	dead := gone.Addr().String()
	gone.Close()
	m := NewMember(MemberConfig{
		Managers:    []string{dead, l.Addr().String()}, // the first is not there
		Hello:       func() Hello { return Hello{Role: RoleServer, ID: 1, Incarnation: 1} },
		OnMap:       func(n *clustermap.Map) { w.note(func() { w.versions = append(w.versions, n.Version) }) },
		OnConnected: func(string) { w.note(func() { w.ups++ }) },
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()

	s := accept(t, l)
	if s.Hello.ID != 1 || s.Hello.MapVersion != 0 {
		t.Errorf("hello %+v", s.Hello)
	}
	s.Send(Frame(KindWelcome, Welcome{HeartbeatMillis: 20}))
	m1, d := mapOf(t)
	s.Send(AppendFrame(nil, KindDelta, clustermap.AppendDelta(nil, d)))
	m2, f := step(t, m1)
	s.Send(f)
	s.Send(f) // a repeated step is nothing
	w.wait(t, "two maps", func() bool { return len(w.versions) == 2 && w.versions[1] == 2 })
	if k, _, err := s.Receive(time.Second); err != nil || k != KindHeartbeat {
		t.Errorf("kind %d, %v", k, err)
	}

	// A step that does not follow begins the link anew, with the version held.
	m3, _ := step(t, m2)
	m4, f := step(t, m3)
	s.Send(f)
	s = accept(t, l)
	if s.Hello.MapVersion != 2 {
		t.Errorf("hello of version %d", s.Hello.MapVersion)
	}
	m.Send(Report{Incarnation: 1, Activated: []PartitionEpoch{{P: 1, E: 2}}})
	m.Send(Report{Incarnation: 1, Activated: []PartitionEpoch{{P: 2, E: 2}}, CopiesLeft: 3})
	s.Send(Frame(KindWelcome, Welcome{HeartbeatMillis: 1000}))
	s.Send(AppendFrame(nil, KindMap, clustermap.AppendMap(nil, m4)))
	k, b, err := s.Receive(2 * time.Second)
	if err != nil || k != KindReport || string(b) == "" {
		t.Fatalf("kind %d, %v", k, err)
	}
	w.wait(t, "a whole map", func() bool { return w.versions[len(w.versions)-1] == m4.Version })

	// A broken link is made again.
	s.Close()
	s = accept(t, l)
	s.Refuse(Refuse{Reason: "not yours", Fatal: true})
	if err := <-ended; err == nil {
		t.Error("a fatal refusal does not end the member")
	}
	cancel()
}

// A manager that is there again is not told whom this member found silent meanwhile: it would
// be taken for now, and a healthy replica, or all of them, would go.
func TestOldAccusationsAreNotSent(t *testing.T) {
	l := listen(t)
	defer l.Close()
	m := NewMember(MemberConfig{Managers: []string{l.Addr().String()}, Hello: func() Hello { return Hello{Role: RoleServer, ID: 1, Incarnation: 1} }})
	accuse := []Accusation{{Accused: []clustermap.ServerID{2}, Partitions: []PartitionEpoch{{P: 1, E: 2}}}}
	m.Send(Report{Incarnation: 1, Activated: []PartitionEpoch{{P: 1, E: 2}}, Accuse: accuse, StepDown: []PartitionEpoch{{P: 3, E: 2}}})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	s := accept(t, l)
	defer s.Close()
	s.Send(Frame(KindWelcome, Welcome{HeartbeatMillis: 60_000}))
	receive := func() (r Report) {
		k, b, err := s.Receive(2 * time.Second)
		if err == nil {
			err = json.Unmarshal(b, &r)
		}
		if err != nil || k != KindReport {
			t.Fatalf("kind %d, %v", k, err)
		}
		return r
	}
	if r := receive(); len(r.Activated) != 1 || len(r.Accuse)+len(r.StepDown) > 0 {
		t.Errorf("%+v", r)
	}
	m.Send(Report{Incarnation: 1, Accuse: accuse})
	if r := receive(); len(r.Accuse) != 1 {
		t.Errorf("%+v", r)
	}
}

func TestMemberLeavesASilentManager(t *testing.T) {
	l := listen(t)
	defer l.Close()
	m := NewMember(MemberConfig{Managers: []string{l.Addr().String()}, Hello: func() Hello { return Hello{Role: RoleGateway} }})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go m.Run(ctx)
	s := accept(t, l)
	s.Send(Frame(KindWelcome, Welcome{HeartbeatMillis: 50}))
	begin := time.Now()
	accept(t, l)
	if d := time.Since(begin); d > managerSilence+2*time.Second {
		t.Errorf("left after %v", d)
	}
}

func TestSlowMemberIsCutOff(t *testing.T) {
	l := listen(t)
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write(append([]byte(Magic), Frame(KindHello, Hello{Role: RoleGateway})...))
	s := accept(t, l)
	big := AppendFrame(nil, KindMap, make([]byte, 1<<20))
	begin := time.Now()
	for range 300 { // it reads nothing
		s.Send(big)
	}
	if d := time.Since(begin); d > 2*time.Second {
		t.Errorf("sending took %v", d)
	}
	<-s.Done()
	if _, _, err := s.Receive(time.Second); !errors.Is(err, ErrSlow) {
		t.Errorf("ended by %v", err)
	}
}

func TestBadFramesEndALink(t *testing.T) {
	l := listen(t)
	defer l.Close()
	for _, bytes := range []string{"GET / HTTP/1.0\r\n\r\n", Magic + "\xff\xff\xff\xff\x01", Magic + "\x00\x00\x00\x00\x01",
		Magic + string(AppendFrame(nil, KindHello, []byte("{"))), Magic + string(Frame(KindHello, Hello{Role: "x"})), Magic + string(Frame(KindReport, Report{}))} {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c.Write([]byte(bytes))
		nc, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Accept(nc); err == nil {
			t.Errorf("%q was taken", bytes)
		}
		c.Close()
	}
}
