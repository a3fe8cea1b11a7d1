package e2e

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/test/e2e/harness"
)

var errNotYet = errors.New("not yet")

// TestCopyingIsDirected: an attach is planned, begun slowly, paused, cancelled, begun again and
// watched to its end, while clients are served.
func TestCopyingIsDirected(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, options(3))
	l := fill(t, c, size(20_000, 100_000))
	p := c.AddServer()
	p.Start()
	c.WaitNotAttached(1)
	if out := c.Ctl("plan", "attach"); !strings.HasPrefix(out, "attach would make 3072 copies of partitions:\n") {
		t.Errorf("plan says %q", out)
	}
	if out := c.Ctl("replace", "--rate", "10K/s", "--at-once", "1"); out != "each server sends 10240 bytes a second at most, 1 copies at a time at most\n" {
		t.Errorf("replace --rate says %q", out)
	}
	c.Ctl("attach")
	var pr control.Progress
	harness.Until(t, 20*time.Second, "copies are made", func() error {
		s := c.Status()
		if s.Progress == nil || s.Progress.PartitionsDone == 0 {
			return errNotYet
		}
		pr = *s.Progress
		return nil
	})
	if pr.PartitionsDone+pr.PartitionsLeft != 3072 || pr.BytesLeft < 0 || pr.Paused {
		t.Errorf("%+v", pr)
	}
	l.Mark("pause")
	c.Ctl("replace", "--pause")
	if out, err := c.TryCtl("doctor"); err != nil || !strings.Contains(out, "WARNING: copying is paused, ") {
		t.Errorf("doctor says %q, %v", out, err)
	}
	left, since := 0, time.Now()
	harness.Until(t, 20*time.Second, "copying rests", func() error { // what was being sent is finished
		if now := c.Status().Progress.PartitionsLeft; now != left {
			left, since = now, time.Now()
		}
		if time.Since(since) < 2*time.Second {
			return errNotYet
		}
		return nil
	})
	if out := c.Ctl("status", "--verbose"); !regexp.MustCompile(`(?m)^copying:\n  \d+ of 3072 copies, .*, paused \(kumoctl MANAGER replace --resume\)\n  each server sends 10240 bytes`).MatchString(out) {
		t.Errorf("status says %q", out)
	}
	l.Mark("cancel")
	c.Ctl("replace", "--cancel")
	if s := c.Status(); s.Moving > 400 { // surplus copies may be on their way out
		t.Errorf("%d copies are to be made after cancel", s.Moving)
	}
	c.Ctl("replace", "--resume", "--rate", "default", "--at-once", "32")
	c.WaitReady(30 * time.Second * harness.Patience)
	held := harness.Node(c.Status(), p).Replicas
	if held == 0 || held > 3000 {
		t.Errorf("the new server holds %d copies after cancel", held)
	}
	l.Mark("replace --watch")
	out := c.Ctl("replace", "--watch")
	if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) < 2 || !strings.HasPrefix(lines[0], "replacing: ") || !strings.HasPrefix(lines[len(lines)-1], "all copies are made") {
		t.Errorf("replace --watch says %q", out)
	}
	if n := harness.Node(c.Status(), p); n.Replicas < 3071 {
		t.Errorf("%+v", n)
	}
	c.Ctl("replace", "--at-once", "default")
	var s control.Status
	if err := json.Unmarshal([]byte(c.Ctl("status", "--json")), &s); err != nil || s.Progress != nil || s.Copying != "" {
		t.Errorf("%v %+v", err, s.Progress)
	}
	finish(t, l, 0, besideBar())
	c.CheckCopies()
}
