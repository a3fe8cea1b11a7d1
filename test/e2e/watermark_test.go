package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/test/e2e/harness"
)

// TestDiskWatermarks: a server takes no more writes, and says so, while there is still space: first it warns, then
// others have its partitions. No client sees an error, and it comes back by itself.
func TestDiskWatermarks(t *testing.T) {
	t.Parallel()
	opt := options(3)
	opt.Dir = t.TempDir()
	dir := filepath.Join(home(t, opt), "kumodb2")
	tmpfs(t, dir, 256)
	opt.ServerArgs = []string{"--disk-low", "150M", "--disk-full", "100M"}
	c := harness.Start(t, opt)
	p := c.Servers[1]
	l := fill(t, c, 2000)
	state := func(want string) {
		t.Helper()
		harness.Until(t, 30*time.Second, fmt.Sprintf("status says that the disk is %q", want), func() error {
			if n := harness.Node(c.Status(), p); n == nil || n.Disk != want {
				return fmt.Errorf("%+v", n)
			}
			return nil
		})
	}
	state("")
	file, n := ballast(t, dir, 120<<20)
	l.Mark("%d MiB of %s's disk are taken, 120 are free", n>>20, p.Name)
	state("low")
	if n := harness.Node(c.Status(), p); n.Primaries == 0 || n.Replicas == 0 {
		t.Errorf("a disk that is low on space: %+v", n)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	state("")
	file, _ = ballast(t, dir, 80<<20)
	l.Mark("80 MiB are free, less than --disk-full")
	state("full")
	harness.Until(t, 15*time.Second, "it has no partition", func() error {
		if n := harness.Node(c.Status(), p); n == nil || n.Primaries > 0 || n.Replicas > 0 {
			return fmt.Errorf("%+v", n)
		}
		return nil
	})
	_, out, _ := run(t, 10*time.Second, "", tool(t, "kumoctl"), c.Manager.Addr, "doctor")
	if want := "the disk of server " + p.Addr + " is full"; !strings.Contains(out, want) {
		t.Errorf("kumoctl doctor does not say %q: %s", want, out)
	}
	l.Run(time.Second)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	l.Mark("there is space again")
	state("")
	c.WaitReady(60 * time.Second)
	l.Run(time.Second)
	finish(t, l, 0, besideBar())
	c.CheckCopies()
	for _, want := range []string{"the disk is low on space", "the disk is not low on space any more", "disk full", "disk has space again"} {
		if !strings.Contains(p.Log(), want) {
			t.Error(errors.New("its log does not say " + want + ": " + p.Tail(10)))
		}
	}
}
