// Command bench measures kumofs beside memcached, redis-server and pebble on this
// machine, section by section, and says which of the bars it is to reach it does.
// Everything is started fresh on loopback; what is compared takes turns within one run;
// medians and ratios are written into BENCHMARKS.md. The load is kumobench's
// (internal/tools/bench), which measures systems that run already.
//
//	go build -o bin/ ./cmd/... && go run ./test/bench -bin bin -section core,tail
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A section measures some of the bars.
type section struct {
	name    string
	title   string
	measure func(*run) error
}

var sections = []section{
	{"core", "100 B values", (*run).core},
	{"large", "1 KB values", (*run).large},
	{"tail", "Latency at half of the maximal rate", (*run).tail},
	{"attach", "A fourth server", (*run).attach},
	{"big", "Many keys", (*run).big},
	{"wide", "Many servers", (*run).wide},
	{"memory", "More data than memory", (*run).memory},
}

// run is what sections work with.
type run struct {
	ctx context.Context
	size
	bin      string
	tmp      string // where sections have their directories
	progress io.Writer

	// Of the present section:
	dir     string
	systems []*system
	cgroups []string
	*sheet
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == pebbleCommand {
		exit(servePebble(os.Args[2:], os.Stdin, os.Stdout))
	}
	bin := flag.String("bin", "bin", "directory of kumofs's programs")
	names := flag.String("section", "", "measure only these, separated by commas: "+strings.Join(sectionNames(), ", "))
	rounds := flag.Int("rounds", 0, "measurements of each system (0: 5, or 1 with -quick)")
	quick := flag.Bool("quick", false, "little of everything: whether it works, not what is measured")
	write := flag.String("write", "", "put the figures into this Markdown file too, in place of the sections' former ones")
	tmp := flag.String("tmp", "", "where the data goes, about 8 GB of it (default: the system's place for temporary files)")
	flag.Parse()
	// The systems' processes and files must not outlive an interrupt.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	r := &run{ctx: ctx, size: full, tmp: *tmp, progress: os.Stderr}
	if *quick {
		r.size = small
	}
	if *rounds > 0 {
		r.rounds = *rounds
	}
	var err error
	if r.bin, err = filepath.Abs(*bin); err != nil {
		exit(err)
	}
	exit(r.all(*names, *quick, *write, os.Stdout))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func sectionNames() (names []string) {
	for _, s := range sections {
		names = append(names, s.name)
	}
	return names
}

// all measures the sections named, or all, and writes what came of each at once. A
// section that fails does not keep those after it from being measured.
func (r *run) all(names string, quick bool, file string, out io.Writer) error {
	wanted := sectionNames()
	if names != "" {
		wanted = strings.Split(names, ",")
	}
	for _, name := range wanted {
		if !slices.Contains(sectionNames(), name) {
			return fmt.Errorf("there is no section %q: %s", name, strings.Join(sectionNames(), ", "))
		}
	}
	var failed []error
	for _, s := range sections {
		if !slices.Contains(wanted, s.name) {
			continue
		}
		begin := time.Now()
		err := r.section(s)
		if r.ctx.Err() != nil {
			return r.ctx.Err()
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", s.name, err))
			r.fail(err)
		}
		command := fmt.Sprintf("go run ./test/bench -bin bin -section %s -rounds %d", s.name, r.rounds)
		if quick {
			command += " -quick"
		}
		text := r.sheet.markdown(s.title, command, time.Since(begin))
		fmt.Fprintln(out, text)
		if file != "" {
			if err := replaceSection(file, s.name, text); err != nil {
				return err
			}
		}
	}
	return errors.Join(failed...)
}

// section measures one and leaves nothing of it but its sheet.
func (r *run) section(s section) (err error) {
	r.sheet, r.systems = &sheet{}, nil
	meter, err := startMeter()
	if err != nil {
		return err
	}
	if r.dir, err = os.MkdirTemp(r.tmp, "kumofs-bench-"); err != nil {
		return err
	}
	defer func() {
		for _, sys := range r.systems {
			stop(syscall.SIGTERM, sys.procs...)
		}
		var meterErr error
		r.others, meterErr = meter.others()
		err = errors.Join(err, meterErr, r.removeCgroups(), os.RemoveAll(r.dir))
	}()
	return s.measure(r)
}

// say tells whoever waits what is being done.
func (r *run) say(format string, args ...any) {
	fmt.Fprintf(r.progress, "%s %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}
