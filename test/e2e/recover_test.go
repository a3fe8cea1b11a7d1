package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/test/e2e/harness"
	"github.com/kumofs/kumofs/test/e2e/load"
)

// loseManager kills the manager and takes its state away, to as.
func loseManager(t *testing.T, c *harness.Cluster, as string) {
	t.Helper()
	c.Manager.Kill9()
	if err := os.Rename(state(c), state(c)+as); err != nil {
		t.Fatal(err)
	}
}

// state is the manager's state directory.
func state(c *harness.Cluster) string {
	_, port, _ := strings.Cut(c.Manager.Addr, ":")
	return filepath.Join(c.Manager.Dir(), "kumo-manager-"+port)
}

// waitRefused waits until n servers are listed as refused, with the command that
// rebuilds the manager's state.
func waitRefused(t *testing.T, c *harness.Cluster, n int) {
	t.Helper()
	harness.Until(t, 10*time.Second, fmt.Sprintf("%d servers are refused", n), func() error {
		s, err := c.TryStatus()
		if err != nil {
			return err
		}
		refused := 0
		for _, x := range s.NotAttached {
			if x.State == "refused" && strings.Contains(x.Note, "kumoctl ADDR recover") {
				refused++
			}
		}
		if refused != n {
			return fmt.Errorf("%d are: %+v", refused, s.NotAttached)
		}
		return nil
	})
}

// refusal is a command that fails with these words.
func refusal(t *testing.T, c *harness.Cluster, words string, args ...string) {
	t.Helper()
	if out, err := c.TryCtl(args...); err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("kumoctl %v: %v %s; want %q", args, err, out, words)
	}
}

func says(t *testing.T, out string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(out, p) {
			t.Errorf("it does not say %q:\n%s", p, out)
		}
	}
}

// A manager that lost its state meets servers with data: it refuses them, and
// recover rebuilds the map while clients go on.
func TestRecover(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, options(3))
	l := fill(t, c, 5_000)
	cluster, clock := c.Status().Cluster, c.Status().Clock
	refusal(t, c, "recover is for managers that lost their state", "recover")
	refusal(t, c, "cluster "+cluster+" with 3 servers", "recover")
	l.Mark("manager lost")
	loseManager(t, c, ".old")
	c.Manager.Start()
	waitRefused(t, c, 3)
	start := time.Now()
	out := c.Ctl("recover")
	t.Logf("recover took %v:\n%s", time.Since(start).Round(time.Millisecond), out)
	l.Mark("recovered")
	says(t, out, "recovered cluster "+cluster, "4096 partitions are taken over")
	c.WaitReady(30 * time.Second)
	l.Run(2 * time.Second)
	s := c.Status()
	if s.Cluster != cluster || s.Clock < clock+1<<20 || len(s.Attached) != 3 || len(s.NotAttached) != 0 {
		t.Errorf("status %+v", s)
	}
	// The old state comes back: nobody follows it, and clients are served on.
	l.Mark("a manager with the old state")
	loseManager(t, c, ".new")
	if err := os.Rename(state(c)+".old", state(c)); err != nil {
		t.Fatal(err)
	}
	c.Manager.Start()
	refused := func(n int) {
		t.Helper()
		harness.Until(t, 10*time.Second, fmt.Sprintf("%d servers refused by the old manager", n), func() error {
			s, err := c.TryStatus()
			if err == nil && (len(s.NotAttached) != n || !strings.Contains(s.NotAttached[0].Note, "old copy")) {
				err = fmt.Errorf("%+v", s.NotAttached)
			}
			return err
		})
	}
	refused(3)
	c.Servers[1].Restart(0) // one that has to learn the map anew does not follow either
	l.Run(4 * time.Second)
	refused(3)
	loseManager(t, c, ".old")
	if err := os.Rename(state(c)+".new", state(c)); err != nil {
		t.Fatal(err)
	}
	c.Manager.Start()
	l.Mark("the recovered manager again")
	c.WaitReady(30 * time.Second)
	// The gateway was not restarted, and its clients were answered all along.
	// Writes wait for the copy on the server that restarted without a manager.
	finish(t, l, 0, 10*time.Second)
	c.CheckCopies()
}

// A server that is missing when the managers are recovered is waited for by the
// partitions that it was a member of, also over a restart of the manager.
func TestRecoverWaitsForTheMissing(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, options(4))
	l := load.New(t, load.Options{Addr: c.Gateway.Addr, Keys: 5_000})
	l.Fill()
	missing := c.MostPrimaries()
	loseManager(t, c, ".lost")
	missing.Kill9()
	c.Manager.Start()
	waitRefused(t, c, 3)
	out := c.Ctl("recover")
	t.Log(out)
	says(t, out, "wait for "+missing.Addr, "kumoctl ADDR recover")
	waits := c.Status().Unavailable
	if waits < 2000 || waits == 4096 {
		t.Errorf("%d partitions wait for one of four servers", waits)
	}
	c.Manager.Kill9()
	c.Manager.Start()
	harness.Until(t, 10*time.Second, "three servers are back", func() error {
		s, err := c.TryStatus()
		if err != nil {
			return err
		}
		n := 0
		for _, a := range s.Attached {
			if a.Reachable {
				n++
			}
		}
		if n != 3 {
			return fmt.Errorf("%d are", n)
		}
		return nil
	})
	time.Sleep(3 * time.Second) // longer than R9 waits
	if s := c.Status(); s.Unavailable != waits || len(s.Troubles) != 1 || !strings.Contains(s.Troubles[0].Text, missing.Addr) {
		t.Errorf("%d partitions waited, now %d; %+v", waits, s.Unavailable, s.Troubles)
	}
	says(t, c.Ctl("recover"), missing.Addr, "recover --accept-loss "+c.Status().Cluster)
	missing.Start()
	harness.Until(t, 20*time.Second, "every partition is served", func() error {
		s, err := c.TryStatus()
		if err == nil && s.Unavailable > 0 {
			err = fmt.Errorf("%d are not: %+v", s.Unavailable, s.Troubles)
		}
		return err
	})
	c.WaitReady(60 * time.Second)
	l.Verify()
	c.CheckCopies()
}

// Without the missing server: its store is given up, by name, and banned.
func TestRecoverAcceptLoss(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, options(3))
	l := load.New(t, load.Options{Addr: c.Gateway.Addr, Keys: 5_000})
	l.Fill()
	gone := c.Servers[2]
	cluster := c.Status().Cluster
	loseManager(t, c, ".lost")
	gone.Kill9()
	c.Manager.Start()
	waitRefused(t, c, 2)
	says(t, c.Ctl("recover"), "wait for "+gone.Addr)
	refusal(t, c, "name the partitions", "recover", "--accept-loss", cluster)
	refusal(t, c, "names cluster 1", "recover", "--accept-loss", "1", "--partitions", "all")
	refusal(t, c, "was not named", "recover", "--accept-loss", cluster, "--partitions", "7")
	out := c.Ctl("recover", "--accept-loss", cluster, "--partitions", "all")
	t.Log(out)
	says(t, out, "resumed ", "gave up the store of "+gone.Addr)
	c.WaitReady(30 * time.Second)
	l.Verify() // it held nothing that the others do not
	gone.StartToEnd(10 * time.Second)
	says(t, gone.Log(), "banned", "only with an empty store")
	c.CheckCopies()
}

// A machine that lost power without --fsync has an uncertain store: it resumes
// when the other members of its partitions are back, or by --accept-loss.
func TestUncertainStoreAcceptLoss(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, options(2))
	l := load.New(t, load.Options{Addr: c.Gateway.Addr, Keys: 2_000})
	l.Fill()
	cluster := c.Status().Cluster
	for _, p := range c.Servers {
		p.Kill9()
	}
	harness.Until(t, 10*time.Second, "all are fault", func() error {
		s, err := c.TryStatus()
		if err == nil && s.Unavailable != 4096 {
			err = fmt.Errorf("%d unavailable", s.Unavailable)
		}
		return err
	})
	here, gone := c.Servers[0], c.Servers[1]
	name := filepath.Join(here.Dir(), "kumodb1", "identity.json")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	id := map[string]any{}
	if err := json.Unmarshal(b, &id); err != nil || id["boot"] == nil {
		t.Fatalf("%v %s", err, b)
	}
	id["boot"] = "another-boot-of-this-machine"
	if b, err = json.Marshal(id); err == nil {
		err = os.WriteFile(name, b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	here.Start()
	harness.Until(t, 15*time.Second, "the status says what is waited for", func() error {
		s, err := c.TryStatus()
		if err == nil && (len(s.Troubles) != 1 || !strings.Contains(s.Troubles[0].Text, "lost power")) {
			err = fmt.Errorf("%+v", s)
		}
		return err
	})
	if s := c.Status(); s.Unavailable != 4096 {
		t.Errorf("an uncertain store resumed %d partitions", 4096-s.Unavailable)
	}
	says(t, c.Ctl("recover"), here.Addr+" lost power", "wait for "+gone.Addr)
	out := c.Ctl("recover", "--accept-loss", cluster, "--partitions", "0-4095")
	t.Log(out)
	says(t, out, "resumed 4096 partitions from the store of "+here.Addr, "gave up the store of "+gone.Addr)
	c.WaitReady(20 * time.Second)
	l.Verify()
}
