package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"golang.org/x/sys/unix"
)

// daemonEnv marks the child that -d starts. Its fd 3 is the pipe on which it
// says that it is up.
const daemonEnv = "KUMOFS_DAEMON_CHILD"

// Run is a daemon's body. It calls s.Up once it listens (with -d the command that
// started it then ends with status 0) and returns when ctx is cancelled or it
// cannot go on.
type Run func(ctx context.Context, log *slog.Logger, s *Supervisor) error

// RunDaemon is a daemon's main: it parses the command line, opens the log, goes
// to the background if -d says so, runs the body and ends the process.
func RunDaemon(f *Flags, c *Common, run Run) { RunDaemonArgs(f, c, os.Args[1:], run) }

// RunDaemonArgs is RunDaemon for a program whose flags follow a subcommand.
func RunDaemonArgs(f *Flags, c *Common, args []string, run Run) {
	Main(f.Prog(), func(ctx context.Context) error {
		if err := f.Parse(args, os.Stdout); err != nil {
			return err
		}
		if c.PIDFile == "" {
			return runLogged(ctx, f, c, nil, run)
		}
		if os.Getenv(daemonEnv) == "" {
			return startChild(ctx, f.Prog())
		}
		return runChild(ctx, f, c, run)
	})
}

// goShare is how much of the memory that a container has is for Go's heap: the store's
// tables in memory and its caches of blocks are beside it.
const goShare = 2.0 / 3

// gcPercent is how much the heap grows over what is live before it is collected, unless GOGC
// says it. A collection costs a daemon about a hundredth of its time.
const gcPercent = 70

// LimitMemory has the garbage collector work harder as the heap comes near what the
// container (cgroup) allows. GOMEMLIMIT, if set, is heeded instead.
func LimitMemory(log *slog.Logger) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	limit, err := memlimit.Set(memlimit.WithRatio(goShare))
	switch {
	case err != nil:
		log.Debug("cannot tell how much memory there is; set GOMEMLIMIT", "err", err)
	case limit != math.MaxInt64:
		log.Info("soft limit of the Go heap", "bytes", limit)
	}
}

// runLogged opens the log and runs the body. detach, if any, is called when the
// daemon is up.
func runLogged(ctx context.Context, f *Flags, c *Common, detach func(*LogFiles), run Run) error {
	stderr := io.Writer(os.Stderr)
	if detach != nil && c.Log != "" && c.Log != "-" {
		// A daemon's standard error becomes the log file: said there once only.
		stderr = io.Discard
	}
	opt := c.LogForm
	opt.Verbose, opt.File, opt.JSON, opt.Stderr = c.Verbose, c.Log, c.BinaryLog, stderr
	log, files, err := SetupLogging(opt)
	if err != nil {
		return err
	}
	defer files.Close()
	c.LogLevel = files.Level
	LimitMemory(log)
	for _, warning := range f.Warnings() {
		log.Warn(warning)
	}
	s := Supervise(ctx, log)
	defer s.Close()
	detached := false
	if detach != nil {
		s.detach = func() {
			detach(files)
			detached = true
		}
	}
	err = run(ctx, log, s)
	if err == nil || (ctx.Err() != nil && errors.Is(err, context.Canceled)) {
		return nil
	}
	if opt.JSONLines && !detached {
		log.Error("ended", "error", err)
		return &Exit{Code: 1}
	}
	files.only.Error("ended", "error", err)
	if detached {
		// Standard error is the log by now, and the log has it.
		return &Exit{Code: 1}
	}
	return err
}

// startChild starts this program again in a session of its own and waits until
// it is up or has failed. What the child says meanwhile goes to our standard
// error, so that the person who typed the command sees it.
func startChild(ctx context.Context, prog string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	ready, readyChild, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	child := exec.Command(self, os.Args[1:]...)
	child.Args[0] = os.Args[0]
	child.Env = append(os.Environ(), daemonEnv+"=1")
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	child.ExtraFiles = []*os.File{readyChild}
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := child.Start(); err != nil {
		return err
	}
	readyChild.Close()
	// The child has a session of its own: the terminal's Ctrl-C does not reach it.
	stop := context.AfterFunc(ctx, func() { _ = child.Process.Signal(syscall.SIGTERM) })
	defer stop()
	said, err := io.ReadAll(ready)
	if err != nil {
		return err
	}
	if string(said) == "up" {
		return nil
	}
	// The pipe closed without the word: the child has ended or is about to.
	err = child.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() && exit.ExitCode() != 0 {
		return &Exit{Code: exit.ExitCode()}
	}
	if err == nil {
		err = errors.New("it was stopped")
	}
	return fmt.Errorf("%s ended before it was up: %w", prog, err)
}

// runChild is the daemon itself.
func runChild(ctx context.Context, f *Flags, c *Common, run Run) error {
	os.Unsetenv(daemonEnv)
	ready := os.NewFile(3, "ready")
	if ready == nil {
		return errors.New("started as a daemon's child without its pipe")
	}
	unix.CloseOnExec(3)
	pid, err := takePIDFile(c.PIDFile)
	if err != nil {
		return err
	}
	defer pid.release()
	// Until SetupLogging takes it.
	signal.Ignore(syscall.SIGHUP)
	detach := func(files *LogFiles) { // once
		redirect(files, c)
		files.mu.Lock()
		files.reopened = func() { redirect(files, c) }
		files.mu.Unlock()
		io.WriteString(ready, "up")
		ready.Close()
	}
	return runLogged(ctx, f, c, detach, run)
}

// redirect points the standard streams away from the terminal: output to the
// log file where there is one (a panic's trace must not be lost), else nowhere.
func redirect(files *LogFiles, c *Common) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer null.Close()
	out := int(null.Fd())
	if c.Log != "" && c.Log != "-" && len(files.files) > 0 {
		out = files.files[0].fd()
	}
	dup2(int(null.Fd()), 0)
	dup2(out, 1)
	dup2(out, 2)
}

// dup2 cannot fail here: both descriptors are open.
func dup2(from, to int) { _ = unix.Dup2(from, to) }

// pidFile is a file with this process's ID, locked while it lives.
type pidFile struct {
	path string
	file *os.File
}

// takePIDFile writes this process's ID to the file, unless the file belongs to
// a process that lives.
func takePIDFile(path string) (*pidFile, error) {
	for {
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, err
		}
		err = lockPIDFile(file)
		if errors.Is(err, errReplaced) {
			file.Close()
			continue
		}
		if err != nil {
			file.Close()
			return nil, err
		}
		return &pidFile{path: path, file: file}, nil
	}
}

// errReplaced: the file was removed, by a daemon that ended, after we opened it.
var errReplaced = errors.New("the pidfile was removed meanwhile")

// lockPIDFile locks the file and writes this process's ID into it.
func lockPIDFile(file *os.File) error {
	text, err := io.ReadAll(io.LimitReader(file, 64))
	if err != nil {
		return err
	}
	old, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	locked := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
	if !locked || (old > 1 && old != os.Getpid() && alive(old)) {
		return fmt.Errorf("%s belongs to process %d, which is running; remove the file if that is no daemon of kumofs", file.Name(), old)
	}
	mine, err := file.Stat()
	if err != nil {
		return err
	}
	if there, err := os.Stat(file.Name()); err != nil || !os.SameFile(mine, there) {
		return errReplaced
	}
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err = file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// alive reports whether a process exists, also one of another user.
func alive(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

// release removes the file at a clean exit.
func (p *pidFile) release() {
	os.Remove(p.path)
	p.file.Close()
}
