package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// Exit is an error that chooses the exit status. With an empty Msg nothing is
// printed: what there was to say has been said.
type Exit struct {
	Code int
	Msg  string
}

// Error is the message.
func (e *Exit) Error() string { return e.Msg }

// sameSignal is how long after the first signal another one is taken for the
// same: timeout(1) and some supervisors signal the process and then its group.
const sameSignal = 300 * time.Millisecond

// Context is cancelled by SIGINT and SIGTERM. A second signal ends the process
// at once, for the person who does not want to wait for a clean stop.
func Context() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		select {
		case <-signals:
			cancel()
		case <-ctx.Done():
			signal.Stop(signals)
			return
		}
		first := time.Now()
		sig := <-signals
		for time.Since(first) < sameSignal {
			sig = <-signals
		}
		fmt.Fprintln(os.Stderr, "second signal: ended without a clean stop")
		os.Exit(128 + int(sig.(syscall.Signal)))
	}()
	return ctx, cancel
}

// Main runs a program and ends the process: status 0 when fn returns nil (or
// was interrupted cleanly, or printed help), 2 for a bad command line, else 1.
func Main(prog string, fn func(ctx context.Context) error) {
	ctx, cancel := Context()
	err := fn(ctx)
	interrupted := ctx.Err() != nil
	cancel()
	if interrupted && errors.Is(err, context.Canceled) {
		err = nil
	}
	os.Exit(report(prog, err))
}

// report prints an error and gives the exit status.
func report(prog string, err error) int {
	var exit *Exit
	var usage *UsageError
	switch {
	case err == nil, errors.Is(err, ErrHelp), errors.Is(err, ErrVersion):
		return 0
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "%s: %s\n", prog, usage)
		return 2
	case errors.As(err, &exit):
		if exit.Msg != "" {
			fmt.Fprintf(os.Stderr, "%s: %s\n", prog, exit.Msg)
		}
		return exit.Code
	default:
		fmt.Fprintf(os.Stderr, "%s: %s\n", prog, strings.TrimRight(err.Error(), "\n"))
		return 1
	}
}
