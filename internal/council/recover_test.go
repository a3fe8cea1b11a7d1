package council

import (
	"slices"
	"strings"
	"testing"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
)

// known is a map of cluster 7 with servers 1 to 4 and partitions like p, in
// incarnation 1.
func known(version uint64, p Partition) *clustermap.Map {
	m := &clustermap.Map{ClusterID: 7, Version: version, Replication: 3}
	for id := ID(1); id <= 4; id++ {
		m.Servers = append(m.Servers, clustermap.Server{ID: id, Addr: addr(id), StreamAddr: addr(id), Incarnation: 1, RunID: 1})
	}
	for range 4 {
		m.Partitions = append(m.Partitions, p)
	}
	return m
}

// stranger is a server with data that comes to a blank manager.
func stranger(id ID, m *clustermap.Map, positions ...control.StorePosition) Found {
	f := Found{Map: m, Registration: Registration{Positions: positions, Hello: control.Hello{
		Role: control.RoleServer, ID: id, Addr: addr(id), StreamAddr: addr(id), Incarnation: 1, RunID: 1, ClusterID: 7}}}
	if m != nil {
		f.KnownMap = m.Version
	}
	return f
}

// recover gives the command with these servers at a blank council, and returns
// its answer.
func (s *sim) recover(found ...Found) Reply {
	s.t.Helper()
	for _, f := range found {
		if v := s.c.Registered(s.now, f.Registration); v.OK || v.Refuse.Fatal || !strings.Contains(v.Refuse.Reason, "recover") {
			s.t.Fatalf("a blank manager takes %+v: %+v", f.Hello, v)
		}
	}
	list, _, err := s.c.Strangers(s.now)
	if err != nil || len(list) != len(found) {
		s.t.Fatalf("strangers %+v: %v", list, err)
	}
	s.ticket++
	s.c.Recover(s.now, s.ticket, found)
	s.turns()
	return s.answer(s.ticket)
}

// comes registers a server as of the recovered map, or as it was found.
func (s *sim) comes(f Found) Verdict {
	v := s.c.Registered(s.now, f.Registration)
	s.turns()
	return v
}

func TestRecoverTakesPartitionsOver(t *testing.T) {
	s := blank(t, 4, 0, nil)
	old := known(10, active(1, 2, 3))
	newer := known(12, active(2, 1, 3))
	newer.Partitions[0].Epoch = 9
	r := s.recover(stranger(1, old), stranger(2, newer), stranger(3, nil), stranger(4, old))
	if r.Err != "" || len(r.Response.Nodes) != 4 || !strings.Contains(strings.Join(r.Response.Lines, "\n"), "4 partitions are taken over") {
		t.Fatalf("%+v", r)
	}
	if s.m.Version != 12+recoverVersions || s.m.Recovered != s.m.Version || s.m.ClusterID != 7 || len(s.m.Servers) != 4 || r.Response.Clock != s.m.Version {
		t.Errorf("%+v", s.m)
	}
	if p := s.m.Partitions[0]; p.Epoch != 9+recoverEpochs || p.Active || !slices.Equal(p.Replicas, []ID{2, 1, 3}) || !slices.Equal(p.LastKnown, []ID{2, 1, 3}) ||
		p.LastPrimary != 2 || p.LastPrimaryIncarnation != 1 || len(p.Awaited) != 0 {
		t.Errorf("%+v", p)
	}
	// Those that never restarted keep their roles, and nobody is held dead before he could come.
	for id := ID(1); id <= 4; id++ {
		s.now += 200
		if v := s.comes(stranger(id, old)); !v.OK {
			t.Fatalf("%+v", v)
		}
	}
	if p := s.m.Partitions[0]; p.Epoch != 9+recoverEpochs {
		t.Errorf("moved on to %+v", p)
	}
	s.serve()
	if p := s.m.Partitions[0]; !p.Active || len(p.Replicas) != 3 {
		t.Errorf("%+v", p)
	}
	// An old manager that comes back is not followed.
	lost := New(Config{})
	lost.Lead(s.now, newer)
	now := stranger(1, s.m)
	if v := lost.Registered(s.now, now.Registration); v.OK || v.Refuse.Fatal || !strings.Contains(v.Refuse.Reason, "old copy") {
		t.Errorf("%+v", v)
	}
}

func TestRecoverRefusals(t *testing.T) {
	other := stranger(4, known(10, active(1, 2, 3)))
	other.ClusterID = 8
	worn := known(10, active(1, 2, 3))
	worn.Partitions[2].Epoch = clustermap.MaxEpoch - recoverEpochs
	for _, test := range []struct {
		name  string
		found []Found
		words string
	}{
		{"two clusters", []Found{stranger(1, known(10, active(1, 2, 3))), other}, "cluster 0000000000000008: " + addr(4)},
		{"no map", []Found{stranger(1, nil)}, "none of the servers"},
		{"no epochs left", []Found{stranger(1, worn)}, "partition 2 cannot be recovered"},
	} {
		s := blank(t, 4, 0, nil)
		if r := s.recover(test.found...); !strings.Contains(r.Err, test.words) || s.m.ClusterID != 0 {
			t.Errorf("%s: %+v", test.name, r)
		}
	}
	s := blank(t, 4, 0, nil)
	if r := s.recover(); !r.Response.Nothing {
		t.Errorf("nobody there: %+v", r)
	}
	s.ticket++
	s.c.Command(s.now, s.ticket, control.CommandRequest{Command: "recover", AcceptLoss: "7"})
	if s.turns(); !strings.Contains(s.answer(s.ticket).Err, "blank") {
		t.Errorf("%+v", s.answer(s.ticket))
	}
	k := newScene(t, active(1, 2, 3))
	if _, _, err := k.c.Strangers(k.now); err == nil || !strings.Contains(err.Error(), "cluster 0000000000000007 with 4 servers") {
		t.Errorf("not blank: %v", err)
	}
}

// v10 {1,2,3}, v11 {3}: 1 and 2 were dropped. Without 3 they must not serve.
func TestRecoverWaitsForANewerConfiguration(t *testing.T) {
	s := blank(t, 4, 0, nil)
	old, newer := known(10, active(1, 2, 3)), known(11, active(3))
	for i := range newer.Partitions {
		newer.Partitions[i].Epoch = 6
	}
	one, two := stranger(1, old), stranger(2, old)
	r := s.recover(one, two)
	if !strings.Contains(strings.Join(r.Response.Lines, "\n"), "4 partitions (0-3) wait for "+addr(3)) {
		t.Fatalf("%+v", r)
	}
	s.comes(one)
	s.comes(two)
	waits := func(when string) {
		t.Helper()
		for i := range s.m.Partitions {
			if p := &s.m.Partitions[i]; len(p.Replicas) > 0 || !slices.Equal(p.Awaited, []ID{3}) {
				t.Fatalf("%s: %+v", when, p)
			}
		}
	}
	s.keepAlive(20_000, 1, 2)
	waits("after 20 s")
	if st := s.c.Status(s.now); st.Unavailable != 4 || len(st.Troubles) != 1 || !strings.Contains(st.Troubles[0].Text, addr(3)) {
		t.Errorf("status %+v", st)
	}
	// Another manager leads: the servers come with the new map, and it waits on.
	s.c.Follow()
	s.c.Lead(s.now, s.m)
	s.comes(stranger(1, s.m))
	s.comes(stranger(2, s.m))
	s.keepAlive(20_000, 1, 2)
	waits("after an election")
	// It comes: its map is read before it is taken.
	three := stranger(3, newer)
	if v := s.comes(three); v.OK || v.Refuse.Fatal || !s.c.WantsMap(&three.Hello) {
		t.Fatalf("%+v", v)
	}
	s.keepAlive(500, 1, 2)
	waits("before its map was read")
	s.c.Learn(3, 1, newer)
	if v := s.c.Registered(s.now, three.Registration); v.OK {
		t.Error("taken before the map shows what it knows")
	}
	s.turns()
	if p := s.m.Partitions[0]; !slices.Equal(p.LastKnown, []ID{3}) || len(p.Awaited) > 0 || p.Epoch < 6+recoverEpochs {
		t.Fatalf("%+v", p)
	}
	s.keepAlive(3000, 1, 2)
	if p := s.m.Partitions[0]; len(p.Replicas) > 0 && p.Replicas[0] != 3 {
		t.Fatalf("resumed without 3: %+v", p)
	}
	if v := s.comes(three); !v.OK {
		t.Fatalf("%+v", v)
	}
	s.serve()
	if p := s.m.Partitions[0]; !p.Active || !slices.Contains(p.Replicas, 3) {
		t.Errorf("%+v", p)
	}
}

// What a server that came early knew counts when a later one makes it a member.
func TestRecoverReadsEveryMapWhileSomeAreAwaited(t *testing.T) {
	s := blank(t, 4, 0, nil)
	s.recover(stranger(1, known(10, active(1, 3))))
	s.comes(stranger(1, known(10, active(1, 3))))
	// 3 is awaited. 4 comes first: it knows {4}, which came of {3} and {3,4}.
	m4, m3 := known(14, active(4)), known(12, active(3, 4))
	for i := range m4.Partitions {
		m4.Partitions[i].Epoch, m3.Partitions[i].Epoch = 9, 7
	}
	four := stranger(4, m4)
	if v := s.comes(four); v.OK || !s.c.WantsMap(&four.Hello) {
		t.Fatalf("taken without its map read: %+v", v)
	}
	s.c.Learn(4, 1, m4)
	s.turns()
	if p := s.m.Partitions[0]; !slices.Equal(p.LastKnown, []ID{4}) || len(p.Awaited) > 0 {
		t.Errorf("%+v", p)
	}
	s.c.Learn(3, 1, m3)
	s.turns()
	if p := s.m.Partitions[0]; !slices.Equal(p.LastKnown, []ID{4}) {
		t.Errorf("an older map counts: %+v", p)
	}
}

func TestRecoverAwaitsJoinersAndUnknownEpochs(t *testing.T) {
	// A joiner may have become a replica, and then the only one.
	s := blank(t, 4, 0, nil)
	p := active(1)
	p.Joining = []ID{2}
	s.recover(stranger(1, known(10, p)))
	if p := s.m.Partitions[0]; !slices.Equal(p.Awaited, []ID{2}) || len(p.Replicas) > 0 || len(p.Joining) > 0 || !slices.Equal(p.LastKnown, []ID{1}) {
		t.Errorf("%+v", p)
	}
	// A store with operations of an epoch that no map knows.
	s = blank(t, 4, 0, nil)
	at := func(e uint64) control.StorePosition { return control.StorePosition{Version: e << clustermap.SeqBits} }
	s.recover(stranger(1, known(10, active(1, 2)), at(5)), stranger(2, known(10, active(1, 2)), at(5)), stranger(3, nil, at(7)))
	if p := s.m.Partitions[0]; !slices.Equal(p.Awaited, []ID{4}) || !slices.Equal(p.LastKnown, []ID{3}) || len(p.Replicas) > 0 {
		t.Errorf("%+v", p)
	}
	if p := s.m.Partitions[1]; len(p.Awaited) > 0 || !slices.Equal(p.Replicas, []ID{1, 2}) {
		t.Errorf("%+v", p)
	}
}

// What was acknowledged in an epoch that no map knows is in the stores that reached
// it: those that did not may not resume the partition while these are away.
func TestRecoverDoesNotGoBackBehindAnUnknownEpoch(t *testing.T) {
	s := blank(t, 4, 0, nil)
	at := func(e uint64) control.StorePosition { return control.StorePosition{Version: e << clustermap.SeqBits} }
	found := map[ID]Found{1: stranger(1, known(10, active(1, 2)), at(5)), 2: stranger(2, known(10, active(1, 2)), at(6)), 3: stranger(3, nil, at(7)), 4: stranger(4, nil)}
	s.recover(found[1], found[2], found[3], found[4])
	for _, id := range []ID{1, 2, 4} {
		s.comes(found[id])
	}
	// A map that is newer, but knows nothing of that epoch, changes nothing.
	s.c.Learn(4, 1, known(12, active(1, 2)))
	s.keepAlive(5000, 1, 2, 4)
	if p := s.m.Partitions[0]; len(p.Replicas) > 0 || p.Epoch < 7+recoverEpochs || !slices.Equal(p.LastKnown, []ID{3}) {
		t.Fatalf("resumed without the store that is furthest: %+v", p)
	}
	s.comes(found[3])
	s.keepAlive(1000, 1, 2, 3, 4)
	if p := s.m.Partitions[0]; !slices.Equal(p.Replicas, []ID{3}) {
		t.Errorf("%+v", p)
	}
}

// recoveredWithout makes a cluster of which server 3 is missing since a recovery.
func recoveredWithout3(t *testing.T) *sim {
	s := blank(t, 4, 0, nil)
	m := known(10, active(1, 2, 3))
	one, two, four := stranger(1, m), stranger(2, m), stranger(4, m)
	s.recover(one, two, four)
	for _, f := range []Found{one, two, four} {
		s.comes(f)
	}
	s.keepAlive(12_000, 1, 2, 4)
	return s
}

func (s *sim) accept(cluster string, args ...string) Reply {
	s.t.Helper()
	s.ticket++
	s.c.Command(s.now, s.ticket, control.CommandRequest{Command: "recover", AcceptLoss: cluster, Args: args})
	s.turns()
	return s.answers[s.ticket]
}

func TestAcceptLossRefusals(t *testing.T) {
	id := clustermap.ClusterID(7).String()
	for _, test := range []struct {
		name, cluster string
		args          []string
		words         string
	}{
		{"another cluster", "8", []string{"all"}, "names cluster 8"},
		{"no partitions", id, nil, "name the partitions"},
		{"not a list", id, []string{"1-x"}, "numbers and ranges from 0 to 3"},
		{"too large", id, []string{"2-4"}, "numbers and ranges from 0 to 3"},
		{"a part of what the store holds", id, []string{"1"}, "was not named"},
	} {
		s := recoveredWithout3(t)
		if r := s.accept(test.cluster, test.args...); !strings.Contains(r.Err, test.words) || len(s.m.Banned) > 0 {
			t.Errorf("%s: %+v", test.name, r)
		}
	}
	s := recoveredWithout3(t)
	s.comes(stranger(3, known(10, active(1, 2, 3)))) // refused, as its map is not read yet
	if r := s.accept(id, "all"); !strings.Contains(r.Err, "can be reached") {
		t.Errorf("a listed member is there: %+v", r)
	}
	s = recoveredWithout3(t)
	s.c.Learn(3, 1, known(10, active(1, 2, 3)))
	s.keepAlive(5000, 1, 2, 4)
	s.serve()
	if r := s.accept(id, "0"); !strings.Contains(r.Err, "is served or resumes by itself") {
		t.Errorf("served: %+v", r)
	}
	if r := s.accept(id, "all"); !r.Response.Nothing {
		t.Errorf("nothing to give up: %+v", r)
	}
	// Right after an election it waits for those that may come.
	s = recoveredWithout3(t)
	s.c.Lead(s.now, s.m)
	if r := s.accept(id, "all"); r.Ticket != 0 {
		t.Errorf("answered before anybody could be heard: %+v", r)
	}
}

func TestAcceptLossAfterRecovery(t *testing.T) {
	s := recoveredWithout3(t)
	k := s.command("recover")
	s.turns()
	if r := s.answer(k); !strings.Contains(strings.Join(r.Response.Lines, "\n"), "recover --accept-loss 0000000000000007 --partitions 0-3") {
		t.Fatalf("%+v", r)
	}
	r := s.accept(clustermap.ClusterID(7).String(), "0-3")
	if r.Err != "" {
		t.Fatal(r.Err)
	}
	if s.m.Server(3) != nil || !slices.Equal(s.m.Banned, []ID{3}) {
		t.Errorf("servers %v, banned %v", s.m.Servers, s.m.Banned)
	}
	s.serve()
	for i := range s.m.Partitions {
		if p := &s.m.Partitions[i]; !p.Active || len(p.Replicas) != 3 || slices.Contains(p.Replicas, 3) {
			t.Errorf("%+v", p)
		}
	}
	if v := s.comes(stranger(3, known(10, active(1, 2, 3)))); v.OK || !v.Refuse.Fatal || !strings.Contains(v.Refuse.Reason, "only with an empty store") {
		t.Errorf("%+v", v)
	}
}

// The most advanced of the uncertain stores that are there resumes; the other joins.
func TestAcceptLossOfAnUncertainTail(t *testing.T) {
	s := newScene(t, active(1, 2, 3))
	for id := ID(1); id <= 3; id++ {
		s.c.Broken(s.now, id)
	}
	s.next()
	for id, version := range map[ID]uint64{1: 10, 2: 20} {
		var positions []control.StorePosition
		for i := range uint16(8) {
			positions = append(positions, control.StorePosition{Partition: i, Version: version})
		}
		s.c.Registered(s.now, Registration{Positions: positions, Hello: control.Hello{Role: control.RoleServer, ID: id, Addr: addr(id),
			StreamAddr: addr(id), Incarnation: 2, RunID: 2, ClusterID: 7, Uncertain: true}})
	}
	for range 10 {
		s.pass(1000, 3)
		if p := s.next(); p.Epoch > 5 && (p.Active || !slices.Equal(p.Replicas, []ID{3})) {
			t.Fatalf("resumed by itself: %+v", p)
		}
	}
	if st := s.c.Status(s.now); st.Unavailable != 8 || len(st.Troubles) != 1 || !strings.Contains(st.Troubles[0].Text, "wait for "+addr(3)) || !strings.Contains(st.Troubles[0].Text, "lost power") {
		t.Errorf("%+v", st.Troubles)
	}
	s.c.Command(s.now, 5, control.CommandRequest{Command: "recover", AcceptLoss: s.m.ClusterID.String(), Args: []string{"all"}})
	var p Partition
	for range 3 {
		p = s.next()
	}
	if !slices.Equal(p.Replicas, []ID{2}) || !slices.Equal(p.LastKnown, []ID{2}) || p.Active || !slices.Equal(s.m.Banned, []ID{3}) {
		t.Errorf("%+v, banned %v", p, s.m.Banned)
	}
}

// A detach of a server that is not awaited goes on while partitions wait; one of
// an awaited server is refused.
func TestDetachWhilePartitionsWait(t *testing.T) {
	s := recoveredWithout3(t)
	k := s.command("detach")
	s.turns()
	if r := s.answer(k); !strings.Contains(r.Err, "refused") {
		t.Fatalf("%+v", r)
	}
	s.c.Broken(s.now, 4)
	s.keepAlive(3000, 1, 2)
	if got := s.c.lastOf(s.now, []ID{4}); len(got) != 0 {
		t.Errorf("server 4 held nothing, but is the last of %v", got)
	}
}

func TestUsedUpEpochsAreSaidOnce(t *testing.T) {
	p := active(1, 2)
	p.Epoch = clustermap.MaxEpoch - 1
	s := newScene(t, p) // a copy is missing and can never be made
	said := 0
	for range 5 {
		s.pass(100)
		out := s.c.Next(s.now)
		if out.Delta != nil {
			t.Fatalf("%+v", out.Delta)
		}
		for _, e := range out.Events {
			if e.Text == "epochs used up" && strings.Contains(e.Note, "0-7") {
				said++
			}
		}
	}
	if said != 1 {
		t.Errorf("said %d times", said)
	}
	if st := s.c.Status(s.now); len(st.Troubles) != 1 || !strings.Contains(st.Troubles[0].Text, "8 partitions (0-7) have used up their epochs") {
		t.Errorf("%+v", st.Troubles)
	}
}

func TestRanges(t *testing.T) {
	for list, want := range map[string][]uint16{"": nil, "3": {3}, "0-2,5,7-8": {0, 1, 2, 5, 7, 8}} {
		if got := ranges(want, 9); got != list {
			t.Errorf("%v: %q", want, got)
		}
		if got, err := parseRanges(list, 9); list != "" && (err != nil || !slices.Equal(got, want)) {
			t.Errorf("%q: %v %v", list, got, err)
		}
	}
	if got := ranges([]uint16{1, 3, 5}, 2); got != "1,3,..." {
		t.Error(got)
	}
	for _, bad := range []string{"", "x", "3-1", "9", "-1", "1-", "1,,2"} {
		if got, err := parseRanges(bad, 9); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
}
