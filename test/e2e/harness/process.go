// Package harness runs clusters of real kumofs processes on loopback for tests:
// starts, kills, pauses and restarts them, and asks the operator's tools how
// they are. Every process is a child of the test and ends with it.
package harness

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is one daemon, started as often as the test likes with the same
// command line, directory and log.
type Process struct {
	Name string
	Addr string // where it listens

	t    TB
	argv []string
	dir  string
	log  string

	mu       sync.Mutex
	cmd      *exec.Cmd
	done     chan struct{} // closed when the present run has ended
	expected bool          // that it ends
	starts   int
}

func newProcess(t TB, name, addr, dir string, argv ...string) *Process {
	p := &Process{Name: name, Addr: addr, t: t, argv: argv, dir: dir, log: filepath.Join(dir, name+".log")}
	t.Cleanup(p.cleanup)
	return p
}

// AddArgs adds to its command line.
func (p *Process) AddArgs(args ...string) { p.argv = append(p.argv, args...) }

// SetProgram lets its next runs be those of another program with the same
// command line. It must not be in a Host.
func (p *Process) SetProgram(path string) { p.argv[0] = path }

// StoreDir is the directory of a server's store.
func (p *Process) StoreDir() string {
	i := slices.Index(p.argv, "-s")
	return filepath.Join(p.dir, p.argv[i+1])
}

// spawn runs what it is sent on one thread that never ends.
var spawn = sync.OnceValue(func() chan<- func() {
	jobs := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range jobs {
			f()
		}
	}()
	return jobs
})

// Spawn starts a command on a thread that never ends: Pdeathsig follows the thread
// that started the child, not the process.
func Spawn(cmd *exec.Cmd) error {
	started := make(chan error)
	spawn() <- func() { started <- cmd.Start() }
	return <-started
}

// Dir is where it runs.
func (p *Process) Dir() string { return p.dir }

// Start starts it. It must not be running.
func (p *Process) Start() {
	p.t.Helper()
	p.start(false)
}

// StartToEnd starts it and waits until it ends by itself, as it must; limits of all
// these waits are multiplied by Patience.
func (p *Process) StartToEnd(limit time.Duration) {
	p.t.Helper()
	limit *= Patience
	p.start(true)
	p.mu.Lock()
	done := p.done
	p.mu.Unlock()
	select {
	case <-done:
	case <-time.After(limit):
		p.t.Errorf("%s has not ended within %v\n%s", p.Name, limit, p.Tail(40))
	}
}

func (p *Process) start(expected bool) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		p.t.Fatalf("%s is running already", p.Name)
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	p.starts++
	fmt.Fprintf(log, "--- e2e: run %d: %s\n", p.starts, strings.Join(p.argv, " "))
	cmd := exec.Command(p.argv[0], p.argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := Spawn(cmd); err != nil {
		p.t.Fatalf("%s: %v", p.Name, err)
	}
	done := make(chan struct{})
	p.cmd, p.done, p.expected = cmd, done, expected
	go func() {
		err := cmd.Wait()
		p.mu.Lock()
		if !p.expected {
			p.t.Errorf("%s ended by itself: %v\n%s", p.Name, err, p.Tail(40))
		}
		p.cmd = nil
		p.mu.Unlock()
		close(done)
	}()
}

// Args adds to its command line, for the next Start.
func (p *Process) Args(more ...string) { p.argv = append(p.argv, more...) }

// PID is its process ID; 0: it does not run.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// signal sends sig to the present run. end says that it is expected to end.
func (p *Process) signal(sig syscall.Signal, end bool) (done chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return nil
	}
	p.expected = p.expected || end
	if err := p.cmd.Process.Signal(sig); err != nil && err != os.ErrProcessDone {
		p.t.Errorf("%s: %v: %v", p.Name, sig, err)
	}
	return p.done
}

// Kill9 kills all of ps at once and returns when they are gone.
func Kill9(ps ...*Process) {
	var gone []chan struct{}
	for _, p := range ps {
		if d := p.signal(syscall.SIGKILL, true); d != nil {
			gone = append(gone, d)
		}
	}
	for _, d := range gone {
		<-d
	}
}

// Kill9 kills it and returns when it is gone.
func (p *Process) Kill9() { Kill9(p) }

// Terminate asks it to end and waits; one that does not end within limit fails the test.
func (p *Process) Terminate(limit time.Duration) {
	p.t.Helper()
	limit *= Patience
	d := p.signal(syscall.SIGTERM, true)
	if d == nil {
		return
	}
	select {
	case <-d:
	case <-time.After(limit):
		p.t.Errorf("%s did not end within %v of SIGTERM\n%s", p.Name, limit, p.Tail(20))
		p.Kill9()
	}
}

// EndsBy does something after which it is expected to end by itself, waits until it
// has, and tells its exit status. One that still runs after limit fails the test.
func (p *Process) EndsBy(limit time.Duration, do func()) (status int) {
	p.t.Helper()
	limit *= Patience
	p.mu.Lock()
	cmd, done := p.cmd, p.done
	p.expected = true
	p.mu.Unlock()
	if cmd == nil {
		p.t.Fatalf("%s does not run", p.Name)
	}
	do()
	select {
	case <-done:
	case <-time.After(limit):
		p.t.Fatalf("%s did not end within %v\n%s", p.Name, limit, p.Tail(20))
	}
	return cmd.ProcessState.ExitCode()
}

// Stop pauses it (SIGSTOP) and returns when the kernel says that it is stopped.
func (p *Process) Stop() {
	p.t.Helper()
	p.signal(syscall.SIGSTOP, false)
	pid := p.PID()
	Until(p.t, 5*time.Second, p.Name+" stopped", func() error {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return err
		}
		if i := bytes.LastIndexByte(b, ')'); i < 0 || len(b) < i+3 || b[i+2] != 'T' {
			return fmt.Errorf("state is %q", b)
		}
		return nil
	})
}

// Cont lets it go on (SIGCONT).
func (p *Process) Cont() { p.signal(syscall.SIGCONT, false) }

// HangUp has it read its files again (SIGHUP).
func (p *Process) HangUp() { p.signal(syscall.SIGHUP, false) }

// Restart kills it and starts it again after gap.
func (p *Process) Restart(gap time.Duration) {
	p.t.Helper()
	p.Kill9()
	time.Sleep(gap)
	p.Start()
}

func (p *Process) cleanup() {
	p.signal(syscall.SIGCONT, false)
	p.Terminate(10 * time.Second)
	log, _ := os.ReadFile(p.log)
	for _, bad := range []string{"panic:", "fatal error:", "DATA RACE", "goroutine 1 ["} {
		if i := bytes.Index(log, []byte(bad)); i >= 0 {
			p.t.Errorf("the log of %s has %q:\n%s", p.Name, bad, log[i:min(len(log), i+4000)])
			break
		}
	}
	if p.t.Failed() {
		p.t.Logf("log of %s (last lines):\n%s", p.Name, p.Tail(25))
	}
}

// Log is all that it has logged in all its runs.
func (p *Process) Log() string {
	b, _ := os.ReadFile(p.log)
	return string(b)
}

// Tail is the last n lines of its log.
func (p *Process) Tail(n int) string {
	lines := strings.Split(strings.TrimRight(p.Log(), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
