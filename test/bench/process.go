package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/kumofs/kumofs/internal/tools/bench"
	"github.com/kumofs/kumofs/test/e2e/harness"
)

// system is one thing to measure: its processes, and where clients connect.
type system struct {
	bench.System
	dir   string
	procs []*process
}

// process is one that runs, or has ended.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// system makes one that has no process yet. It is stopped when the section ends.
func (r *run) system(name, protocol string) (*system, error) {
	dir := filepath.Join(r.dir, fmt.Sprint(len(r.systems)))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	s := &system{System: bench.System{Name: name, Protocol: protocol}, dir: dir}
	r.systems = append(r.systems, s)
	return s, nil
}

// run starts a process of the system; its output goes to a file in its directory. It
// does not outlive this program, whatever ends it, nor is it interrupted from the
// terminal before this program stops it.
func (s *system) run(argv ...string) (*process, error) {
	return s.start(exec.Command(argv[0], argv[1:]...))
}

// start is run for a command that may have a standard output of its own.
func (s *system) start(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	p.log = filepath.Join(s.dir, fmt.Sprintf("%d.log", len(s.procs)))
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	if cmd.Stdout == nil {
		cmd.Stdout = log
	}
	cmd.Dir, cmd.Stderr = s.dir, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := harness.Spawn(cmd); err != nil {
		return nil, err
	}
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(p.done)
	}()
	s.procs = append(s.procs, p)
	s.PIDs = s.pids()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// stop ends processes and waits for them.
func stop(sig syscall.Signal, procs ...*process) {
	for _, p := range procs {
		_ = p.cmd.Process.Signal(sig) // it may have ended
	}
	limit := time.After(10 * time.Second)
	for _, p := range procs {
		select {
		case <-p.done:
		case <-limit:
			limit = time.After(0)
			_ = p.cmd.Process.Kill()
			<-p.done
		}
	}
}

// drop ends one process, which is not the system's any more.
func (s *system) drop(p *process, sig syscall.Signal) {
	stop(sig, p)
	s.PIDs = s.pids()
}

// pids are its processes that run.
func (s *system) pids() (list []int) {
	for _, p := range s.procs {
		if !p.ended() {
			list = append(list, p.pid())
		}
	}
	return list
}

// logs is the end of what its processes have said, for an error.
func (s *system) logs() string {
	var b strings.Builder
	for _, p := range s.procs {
		text, _ := os.ReadFile(p.log) // nothing to say without it
		if n := len(text); n > 0 {
			fmt.Fprintf(&b, "\n%s: ...%s", filepath.Base(p.cmd.Path), text[max(0, n-500):])
		}
	}
	return b.String()
}

func freePort() int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err) // no loopback: nothing can be measured
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func freeAddr() string { return fmt.Sprintf("127.0.0.1:%d", freePort()) }

// until tries until there is no error, within limit.
func (r *run) until(limit time.Duration, try func() error) error {
	for end := time.Now().Add(limit); ; {
		err := try()
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("not within %v: %w", limit, err)
		}
		if err := r.sleep(10 * time.Millisecond); err != nil {
			return err
		}
	}
}

// sleep is an error if the program is to end meanwhile.
func (r *run) sleep(d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
}

// waitPort waits until all of the system's addresses take connections.
func (r *run) waitPort(s *system, addrs ...string) error {
	err := r.until(20*time.Second, func() error {
		for _, p := range s.procs {
			if p.ended() {
				return errors.New("a process has ended")
			}
		}
		for _, addr := range addrs {
			c, err := net.DialTimeout("tcp", addr, time.Second)
			if err != nil {
				return err
			}
			c.Close()
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%w%s", err, s.logs())
	}
	return nil
}

// end stops all of the system before its section ends: those after it are to have the
// machine.
func (s *system) end() {
	stop(syscall.SIGTERM, s.procs...)
	s.PIDs = nil
	_ = os.RemoveAll(s.dir) // the section's directory is removed, too
}
