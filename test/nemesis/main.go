// Nemesis runs a cluster of real processes under faults and load and says
// whether it kept its promises; see test/e2e/nemesis. It exits with 1 if not.
// SIGINT and SIGTERM end it early, without a verdict and with nothing left
// behind; a second one ends it at once.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/kumofs/kumofs/test/e2e/harness"
	"github.com/kumofs/kumofs/test/e2e/nemesis"
)

func main() {
	minutes := flag.Float64("minutes", 3, "how long")
	seed := flag.Uint64("seed", 0, "seed of faults and load (default: another each time)")
	managers := flag.Int("managers", 2, "managers")
	servers := flag.Int("servers", 5, "servers; one of five is attached later")
	gateways := flag.Int("gateways", 2, "gateways")
	only := flag.String("only", "", "these faults alone, by name, with commas between them")
	loopback := flag.Bool("loopback", false, "no namespaces and no disks: faults of processes alone")
	lenient := flag.Bool("lenient", false, "tell the waits, but do not hold them to the bars: for a machine with other work to do")
	bug := flag.String("planted", "", "build the programs with this bug of internal/planted: a run that passes has missed it")
	dir := flag.String("dir", "", "data and logs, kept (default: kept only after a failure)")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, cancel) // a second signal is not caught
	keep := *dir != ""
	if !keep {
		var err error
		if *dir, err = os.MkdirTemp("", "kumofs-nemesis-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	bin := filepath.Join(*dir, "bin")
	var tags []string
	if *bug != "" {
		tags = []string{"-tags", "planted"}
		os.Setenv("KUMOFS_PLANTED", *bug) // the daemons inherit it
	}
	if err := harness.Build(bin, tags...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		if !keep {
			_ = os.RemoveAll(*dir) // half of the programs
		}
		os.Exit(2)
	}
	opt := nemesis.Options{Bin: bin, Dir: *dir, Time: time.Duration(*minutes * float64(time.Minute)), Seed: *seed,
		Managers: *managers, Servers: *servers, Gateways: *gateways, Loopback: *loopback, Lenient: *lenient, Stop: ctx.Done()}
	if *only != "" {
		opt.Only = strings.Split(*only, ",")
	}
	r := &run{dir: *dir}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer r.cleanup()
		nemesis.Run(r, opt)
	}()
	<-done
	if r.Failed() {
		fmt.Println("FAILED; data and logs are in", *dir)
		os.Exit(1)
	}
	if !keep {
		if err := os.RemoveAll(*dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	if r.skipped {
		fmt.Println("INTERRUPTED: there is no verdict")
		os.Exit(1)
	}
	fmt.Println("PASSED")
}

// run is a harness.TB that is no test.
type run struct {
	dir string

	skipped bool // read when the run is over

	mu       sync.Mutex
	failed   bool
	cleanups []func()
}

func (r *run) Helper()         {}
func (r *run) Name() string    { return "nemesis" }
func (r *run) TempDir() string { return r.dir }

func (r *run) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

// cleanup runs what was registered, the last first.
func (r *run) cleanup() {
	for {
		r.mu.Lock()
		n := len(r.cleanups)
		if n == 0 {
			r.mu.Unlock()
			return
		}
		f := r.cleanups[n-1]
		r.cleanups = r.cleanups[:n-1]
		r.mu.Unlock()
		f()
	}
}

func (r *run) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

func (r *run) fail() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
}

func (r *run) Log(args ...any)                 { fmt.Println(args...) }
func (r *run) Logf(format string, args ...any) { r.Log(fmt.Sprintf(format, args...)) }

func (r *run) Error(args ...any) {
	r.fail()
	r.Log("ERROR: " + fmt.Sprint(args...))
}

func (r *run) Errorf(format string, args ...any) { r.Error(fmt.Sprintf(format, args...)) }

// Fatal ends the goroutine, after its cleanups.
func (r *run) Fatal(args ...any) {
	r.Error(args...)
	runtime.Goexit()
}

// Skip ends the goroutine, after its cleanups.
func (r *run) Skip(args ...any) {
	r.Log(args...)
	r.skipped = true
	runtime.Goexit()
}

func (r *run) Fatalf(format string, args ...any) { r.Fatal(fmt.Sprintf(format, args...)) }
