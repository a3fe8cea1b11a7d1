package nemesis

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/kumofs/kumofs/test/e2e/harness"
)

const (
	diskSize = 512 << 20
	// lostFound is a name that a store leaves alone.
	lostFound = "lost+found"
	throttle  = "/sys/fs/cgroup/blkio"
)

// disks are files with a file system each, mounted where the stores are.
type disks struct {
	t      harness.TB
	group  string   // cgroup whose I/O is bounded; "" where there is none
	mounts []string // by server
}

func newDisks(t harness.TB, dir string, servers int) (*disks, error) {
	if os.Getuid() != 0 {
		return nil, errors.New("mounting needs root")
	}
	d := &disks{t: t}
	for i := range servers {
		mount := filepath.Join(dir, fmt.Sprintf("kumodb%d", i+1))
		image := filepath.Join(dir, fmt.Sprintf("disk%d.img", i+1))
		if err := os.MkdirAll(mount, 0o755); err != nil {
			return nil, err
		}
		f, err := os.Create(image)
		if err == nil {
			err = errors.Join(f.Truncate(diskSize), f.Close())
		}
		if err != nil {
			return nil, err
		}
		for _, argv := range [][]string{{"mkfs.ext4", "-q", "-m", "0", image}, {"mount", "-o", "loop", image, mount}} {
			if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
				return nil, fmt.Errorf("%v: %w: %s", argv, err, out)
			}
		}
		t.Cleanup(func() {
			err := syscall.Unmount(mount, syscall.MNT_DETACH)
			if t.Failed() {
				t.Logf("%s: mount -o loop %s DIRECTORY", filepath.Base(mount), image)
			} else {
				err = errors.Join(err, os.Remove(image))
			}
			if err != nil {
				t.Error(err)
			}
		})
		d.mounts = append(d.mounts, mount)
	}
	group := filepath.Join(throttle, fmt.Sprintf("kumofs-nemesis-%d", os.Getpid()))
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Logf("no slow disks here: %v", err)
		return d, nil
	}
	d.group = group
	t.Cleanup(func() {
		if err := os.Remove(group); err != nil {
			t.Error(err)
		}
	})
	return d, nil
}

// fill leaves nothing free on a server's disk; undo gives it back.
func (d *disks) fill(i int) (undo func(), err error) {
	dir := d.mounts[i]
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, lostFound, "ballast")
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// Somebody who takes what is there, not a size that a store could count on.
	for left := int64(st.Bavail) * st.Bsize; left > 4096; left /= 2 {
		var end int64
		if s, err := f.Stat(); err == nil {
			end = s.Size()
		}
		if err := syscall.Fallocate(int(f.Fd()), 0, end, left); err != nil && !errors.Is(err, syscall.ENOSPC) {
			return nil, err
		}
	}
	return func() {
		if err := os.Remove(path); err != nil {
			d.t.Error(err)
		}
	}, nil
}

// slow bounds what a process reads and writes on its disk, in bytes and in
// operations a second.
func (d *disks) slow(i, pid int) (undo func(), err error) {
	var st syscall.Stat_t
	if err := syscall.Stat(d.mounts[i], &st); err != nil {
		return nil, err
	}
	device := fmt.Sprintf("%d:%d", st.Dev>>8, st.Dev&0xff)
	set := func(file, value string) error {
		return os.WriteFile(filepath.Join(d.group, file), []byte(value), 0)
	}
	limits := func(bytes, ops int) (err error) {
		for _, rw := range []string{"read", "write"} {
			err = errors.Join(err, set("blkio.throttle."+rw+"_bps_device", fmt.Sprintf("%s %d", device, bytes)),
				set("blkio.throttle."+rw+"_iops_device", fmt.Sprintf("%s %d", device, ops)))
		}
		return err
	}
	if err := errors.Join(limits(256<<10, 20), set("cgroup.procs", strconv.Itoa(pid))); err != nil {
		return nil, err
	}
	return func() {
		if err := limits(0, 0); err != nil {
			d.t.Error(err)
		}
		b, err := os.ReadFile(filepath.Join(d.group, "cgroup.procs"))
		if err != nil {
			d.t.Error(err)
		}
		for pid := range strings.FieldsSeq(string(b)) { // it may have ended since
			_ = os.WriteFile(filepath.Join(throttle, "cgroup.procs"), []byte(pid), 0)
		}
	}, nil
}
