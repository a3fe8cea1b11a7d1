package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kumofs/kumofs/test/e2e/harness"
	"github.com/kumofs/kumofs/test/e2e/load"
	"golang.org/x/sys/unix"
)

// disk is an ext4 file system in a file, mounted through a loop device, whose
// power can be cut.
type disk struct {
	t          *testing.T
	image, dir string
	mounted    bool
}

// newDisk makes one and mounts it at dir, which is made. Where that cannot be
// done the test is skipped.
func newDisk(t *testing.T, dir string, mib int64) *disk {
	t.Helper()
	needRoot(t, "mounting a file system in a file")
	d := &disk{t: t, image: filepath.Join(t.TempDir(), "disk.img"), dir: dir}
	f, err := os.Create(d.image)
	if err == nil {
		err = f.Truncate(mib << 20)
		f.Close()
	}
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := runTool("mkfs.ext4", "-q", "-F", d.image); err != nil {
		t.Skipf("%s: not run: %v", t.Name(), err)
	}
	// `ip netns exec`, of other tests, takes a copy of what is mounted along. A copy
	// that stays keeps the file system in use, and the next mount would find the one
	// whose power was cut. Below a shared mount copies go with the original.
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("%s: not run: cannot mount: %v", t.Name(), err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err := unix.Mount("", dir, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	if err := d.mount(); err != nil {
		t.Skipf("%s: not run: cannot mount through a loop device: %v", t.Name(), err)
	}
	t.Cleanup(func() {
		if d.mounted {
			d.unmount()
		}
	})
	return d
}

func runTool(argv ...string) error {
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, out)
	}
	return nil
}

func (d *disk) mount() error {
	err := runTool("mount", "-o", "loop", d.image, d.dir)
	d.mounted = err == nil
	return err
}

func (d *disk) unmount() {
	d.t.Helper()
	d.mounted = false
	harness.Until(d.t, 10*time.Second, d.dir+" unmounted", func() error { return unix.Unmount(d.dir, 0) })
}

const (
	ext4Shutdown     = 0x8004587d // EXT4_IOC_SHUTDOWN
	shutdownNoFlush  = 2          // EXT4_GOING_FLAGS_NOLOGFLUSH
	fiFreeze         = 0xc0045877 // FIFREEZE
	fiThaw           = 0xc0045878 // FITHAW
	otherBoot        = `"boot": "another boot of this machine"`
	uncertainMessage = "the machine went down without a clean stop and without --fsync"
)

// cut takes the power away from the file system: from now on nothing reaches the
// disk, and every operation fails. What was not written out before is lost, the
// journal's tail too.
func (d *disk) cut() {
	d.t.Helper()
	f, err := os.Open(d.dir)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), ext4Shutdown, shutdownNoFlush); err != nil {
		d.t.Skipf("%s: not run: this kernel cannot shut an ext4 down: %v", d.t.Name(), err)
	}
}

// hang has every write to the file system wait, without an error, until release.
func (d *disk) hang() (release func()) {
	d.t.Helper()
	f, err := os.Open(d.dir)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := unix.IoctlSetInt(int(f.Fd()), fiFreeze, 0); err != nil {
		d.t.Skipf("%s: not run: this kernel cannot freeze an ext4: %v", d.t.Name(), err)
	}
	release = sync.OnceFunc(func() {
		defer f.Close()
		if err := unix.IoctlSetInt(int(f.Fd()), fiThaw, 0); err != nil {
			d.t.Error(err)
		}
	})
	d.t.Cleanup(release) // before servers are killed: a write that waits cannot be
	return release
}

// back is the machine started again: the journal is replayed, and the kernel has
// another boot ID, as far as the store can see.
func (d *disk) back() {
	d.t.Helper()
	d.unmount()
	if err := d.mount(); err != nil {
		d.t.Fatal(err)
	}
	name := filepath.Join(d.dir, "identity.json")
	b, err := os.ReadFile(name)
	if err != nil {
		d.t.Fatal(err)
	}
	changed := regexp.MustCompile(`"boot": "[^"]*"`).ReplaceAll(b, []byte(otherBoot))
	if string(changed) == string(b) && !strings.Contains(string(b), otherBoot) {
		d.t.Fatalf("no boot ID in %s", b)
	}
	if err := os.WriteFile(name, changed, 0o644); err != nil {
		d.t.Fatal(err)
	}
}

// TestDiskBesideNamespaces: a disk whose power was cut is as after a start of the
// machine although a process of another mount namespace has seen it mounted.
func TestDiskBesideNamespaces(t *testing.T) {
	t.Parallel()
	d := newDisk(t, filepath.Join(t.TempDir(), "store"), 16)
	name := filepath.Join(d.dir, "identity.json")
	f, err := os.Create(name)
	if err == nil {
		_, err = f.WriteString(`{"boot": "this boot"}`)
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	h, err := harness.NewHosts(t, "other")
	if err != nil {
		t.Skip("not run: ", err)
	}
	start(t, d.dir+"/..", h.On("other", "sh", "-c", "echo here; exec sleep 60")...).says(5*time.Second, "here")
	d.cut()
	d.back()
	if b, err := os.ReadFile(name); err != nil || string(b) != "{"+otherBoot+"}" {
		t.Errorf("%v %s", err, b)
	}
}

// writers write keys of their own one after the other, until they are stopped or
// see an error.
type writers struct {
	addr  string
	wg    sync.WaitGroup
	done  atomic.Bool
	acked []atomic.Int64 // by writer
	atCut []int64        // what was acknowledged when the power was cut
}

// cut notes what is acknowledged; the writers end when they have their answers.
func (ws *writers) cut() {
	for w := range ws.acked {
		ws.atCut = append(ws.atCut, ws.acked[w].Load())
	}
	ws.done.Store(true)
}

func powerKey(round, w, i int) string { return fmt.Sprintf("power-%d-%d-%d", round, w, i) }
func powerValue(key string) string    { return key + strings.Repeat(".", len(key)*7) }

func startWriters(addr string, round, n int) *writers {
	ws := &writers{addr: addr, acked: make([]atomic.Int64, n)}
	for w := range n {
		ws.wg.Go(func() {
			c, err := load.Dial(addr, 20*time.Second)
			if err != nil {
				return
			}
			defer c.Close()
			for i := 1; !ws.done.Load(); i++ {
				key := powerKey(round, w, i)
				r, err := c.Do(&load.Op{Kind: load.Set, Key: key, Value: powerValue(key)})
				if err != nil || r.Status != load.Done {
					return
				}
				ws.acked[w].Store(int64(i))
			}
		})
	}
	return ws
}

// missing counts the acknowledged writes that are not there. Of those before the
// cut one that is there after one that is not is an error.
func (ws *writers) missing(t *testing.T, round int) (missing, acked int) {
	t.Helper()
	for w := range ws.acked {
		n := int(ws.acked[w].Load())
		acked += n
		ops := make([]load.Op, n)
		for i := range ops {
			ops[i] = load.Op{Kind: load.Get, Key: powerKey(round, w, i+1)}
		}
		gone := 0
		err := load.Pipeline(ws.addr, ops, 30*time.Second, func(i int, r load.Result) {
			switch {
			case r.Status == load.Missing:
				gone++
			case r.Status != load.Done || r.Value != powerValue(ops[i].Key):
				t.Errorf("get %s: %v %s", ops[i].Key, r.Status, r.Error)
			case gone > 0 && int64(i) < ws.atCut[w]:
				t.Errorf("%s is there, and an earlier write is not", ops[i].Key)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		missing += gone
	}
	return missing, acked
}

// TestPowerLoss cuts the power of the machines of all servers while clients
// write. With --fsync all that was acknowledged is there; without it the store
// has what was written up to some moment, and says that its tail is uncertain.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		servers int
		rounds  int
		fsync   bool
		long    bool
	}{
		{"one server, --fsync", 1, 3, true, false},
		{"one server", 1, 1, false, false},
		{"three servers, --fsync", 3, 10, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.long && !*long {
				t.Skip("left to -e2e.long")
			}
			opt := options(test.servers)
			opt.Dir = t.TempDir()
			opt.GatewayArgs = []string{"--timeout", "3"}
			if test.fsync {
				opt.ServerArgs = []string{"--fsync"}
			}
			var disks []*disk
			for i := range test.servers {
				disks = append(disks, newDisk(t, filepath.Join(home(t, opt), fmt.Sprintf("kumodb%d", i+1)), 256))
			}
			c := harness.Start(t, opt)
			var all []*writers
			for round := range test.rounds {
				ws := startWriters(c.Gateway.Addr, round, 8)
				all = append(all, ws)
				time.Sleep(time.Duration(400+130*round) * time.Millisecond)
				for _, p := range c.Servers {
					p.Stop()
				}
				ws.cut()
				for _, d := range disks {
					d.cut()
				}
				harness.Kill9(c.Servers...)
				for _, d := range disks {
					d.back()
				}
				for _, p := range c.Servers {
					p.Start()
				}
				ws.wg.Wait()
				c.WaitReady(30 * time.Second)
				lost, acked := 0, 0
				for r, ws := range all {
					m, n := ws.missing(t, r)
					lost, acked = lost+m, acked+n
				}
				t.Logf("power loss %d: %d of %d acknowledged writes are missing", round+1, lost, acked)
				uncertain := strings.Contains(c.Servers[0].Log(), uncertainMessage)
				switch {
				case acked == 0:
					t.Error("nothing was written: the test tests nothing")
				case test.fsync && (lost > 0 || uncertain):
					t.Errorf("with --fsync %d of %d acknowledged writes are missing; the store says that its tail is uncertain: %v", lost, acked, uncertain)
				case !test.fsync && !uncertain:
					t.Errorf("a store without --fsync does not say that its tail is uncertain: %s", c.Servers[0].Tail(20))
				case !test.fsync && lost == 0:
					t.Error("nothing was lost: this is no power loss")
				}
			}
		})
	}
}
