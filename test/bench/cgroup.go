package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// memoryGroups finds where this machine has cgroups that limit memory: version 2, or 1.
func memoryGroups() (dir, limitFile string, err error) {
	b, err := os.ReadFile("/proc/mounts")
	if err != nil {
		return "", "", err
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 4 {
			continue
		}
		switch at, kind, options := f[1], f[2], strings.Split(f[3], ","); kind {
		case "cgroup2":
			// A group has what its parent passes on.
			if has, err := os.ReadFile(filepath.Join(at, "cgroup.subtree_control")); err == nil && slices.Contains(strings.Fields(string(has)), "memory") {
				return at, "memory.max", nil
			}
		case "cgroup":
			if slices.Contains(options, "memory") {
				return at, "memory.limit_in_bytes", nil
			}
		}
	}
	return "", "", errors.New("this machine has no cgroups that limit memory (version 2 with memory in cgroup.subtree_control, or version 1)")
}

// limited is what to put before a command line so that its process, and what the kernel
// caches for it, has no more memory than limit. It needs root. Go does not look at cgroups
// by itself: it is told to keep within two thirds.
func (r *run) limited(limit int64) (prefix []string, err error) {
	at, file, err := memoryGroups()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(at, fmt.Sprintf("kumofs-bench-%d-%d", os.Getpid(), len(r.cgroups)))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot make a cgroup: %w", err)
	}
	r.cgroups = append(r.cgroups, dir)
	if err := os.WriteFile(filepath.Join(dir, file), []byte(strconv.FormatInt(limit, 10)), 0o644); err != nil {
		return nil, fmt.Errorf("cannot limit the memory of a cgroup: %w", err)
	}
	return []string{"env", fmt.Sprintf("GOMEMLIMIT=%d", limit*2/3), "sh", "-c", `echo $$ >"$0" && exec "$@"`, filepath.Join(dir, "cgroup.procs")}, nil
}

// removeCgroups removes those that were made, whose processes have ended.
func (r *run) removeCgroups() error {
	var errs []error
	for _, dir := range r.cgroups {
		// The kernel takes a moment to let go of a process that has ended.
		var err error
		for range 100 {
			if err = os.Remove(dir); err == nil {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		errs = append(errs, err)
	}
	r.cgroups = nil
	return errors.Join(errs...)
}
