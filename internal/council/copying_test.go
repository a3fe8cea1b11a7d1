package council

import (
	"slices"
	"strings"
	"testing"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
)

// order gives a command and returns what it was answered, and partition 0 then.
func (s *scene) order(command string, args ...string) (Reply, Partition) {
	s.t.Helper()
	s.c.Command(s.now, 77, control.CommandRequest{Command: command, Args: args})
	var r Reply
	for range 10 {
		out := s.c.Next(s.now)
		for _, x := range out.Replies {
			r = x
		}
		if out.Delta != nil {
			n, err := s.m.Apply(out.Delta)
			if err != nil {
				s.t.Fatal(err)
			}
			s.m = n
			s.c.Applied(s.now, n)
		}
		if r.Ticket == 77 {
			return r, s.m.Partitions[0]
		}
	}
	s.t.Fatal("no answer")
	return r, Partition{}
}

func TestCopyingPaused(t *testing.T) {
	p := active(1, 2)
	s := newScene(t, p)
	if r, _ := s.order("copying", "pause", "rate=1000", "at-once=2"); r.Err != "" || !strings.Contains(r.Response.Lines[0], "paused: ") {
		t.Fatalf("%+v", r)
	}
	if want := (clustermap.Copying{Paused: true, Rate: 1000, AtOnce: 2}); s.m.Copying != want {
		t.Fatalf("%+v", s.m.Copying)
	}
	joins := len(s.m.Partitions[0].Joining)
	if p := s.next(); len(p.Joining) != joins {
		t.Fatalf("a join begins while copying is paused: %+v", p)
	}
	st := s.c.Status(s.now)
	if st.Progress == nil || !st.Progress.Paused || !strings.Contains(st.Copying, "1000 bytes a second at most, 2 copies") {
		t.Fatalf("status says %+v %q", st.Progress, st.Copying)
	}
	if r, _ := s.order("copying", "resume"); r.Err != "" {
		t.Fatal(r.Err)
	}
	if p := s.next(); !slices.Equal(p.Joining, []ID{3}) {
		t.Fatalf("the join does not begin: %+v", p)
	}
	for _, bad := range []string{"", "rate", "rate=-1", "rate=x", "at-once=65", "at-once=-1", "stop"} {
		if r, _ := s.order("copying", bad); r.Err == "" {
			t.Errorf("%q is taken: %v", bad, r.Response.Lines)
		}
	}
	if r, _ := s.order("copying", "at-once=2"); r.Err != "" || r.Response.Clock != s.m.Version {
		t.Errorf("%+v", r)
	}
}

func TestCancel(t *testing.T) {
	s := newScene(t, moving([]ID{1, 2, 4}, 4))
	r, p := s.order("cancel")
	if r.Err != "" || r.Response.Lines[0] != "cancelled 8 copies" || !slices.Equal(p.Assigned, []ID{1, 2, 3}) || len(p.Joining) != 0 || !p.Active || p.Epoch != 6 {
		t.Fatalf("%+v %+v", r, p)
	}
	if r, _ = s.order("cancel"); !r.Response.Nothing {
		t.Fatalf("%+v", r)
	}
	if p = s.next(); p.Epoch != 6 {
		t.Fatalf("it goes on: %+v", p)
	}
	// A server that is away is not being copied to, and remains in the plan.
	s = newScene(t, active(1, 2))
	s.pass(5000, 3)
	s.next()
	if r, p = s.order("cancel"); !r.Response.Nothing || !slices.Equal(p.Assigned, []ID{1, 2, 3}) {
		t.Fatalf("%+v %+v", r, p)
	}
	// What is missing is made all the same.
	p = active(1, 2)
	p.Joining = []ID{3}
	s = newScene(t, p)
	if r, p = s.order("cancel"); !r.Response.Nothing || !slices.Equal(p.Joining, []ID{3}) {
		t.Fatalf("%+v %+v", r, p)
	}
}

func TestProgress(t *testing.T) {
	s := newScene(t, moving([]ID{1, 2, 4}, 4))
	if p := s.c.Progress(s.now); p == nil || p.PartitionsLeft != 8 || p.PartitionsDone != 0 || p.BytesLeft != -1 || p.SecondsLeft != -1 {
		t.Fatalf("%+v", p)
	}
	sent := func(bytes uint64) { s.c.Report(s.now, 1, control.Report{Incarnation: 1, CopyBytes: bytes}) }
	sent(5000) // of another time
	s.pass(1000)
	sent(7000)
	in := []control.InSync{{P: 0, E: 5, Joiner: 4, Incarnation: 1}, {P: 1, E: 5, Joiner: 4, Incarnation: 1}}
	s.c.Report(s.now, 1, control.Report{Incarnation: 1, InSync: in, CopyBytes: 7000})
	s.next()
	p := s.c.Progress(s.now)
	if p == nil || p.PartitionsLeft != 6 || p.PartitionsDone != 2 || p.BytesDone != 2000 || p.BytesLeft != 6000 || p.BytesPerSecond != 2000 || p.SecondsLeft != 3 || p.Seconds != 1 {
		t.Fatalf("%+v", p)
	}
	s.registers(1, 1) // its link broke
	s.pass(1000)
	sent(8000)
	if p = s.c.Progress(s.now); p.BytesDone != 2000 {
		t.Fatalf("what it sent unseen is counted: %+v", p)
	}
	s.order("cancel")
	s.pass(1000)
	for range 5 {
		s.next()
	}
	if p = s.c.Progress(s.now); p != nil && p.PartitionsLeft != 0 {
		t.Fatalf("%+v", p)
	}
}
