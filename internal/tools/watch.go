package tools

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/charmbracelet/x/term"
	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/control"
)

const (
	watchEvery = 500 * time.Millisecond
	// watchSay is how often it is said how far it is where that is no terminal.
	watchSay = 5 * time.Second
	// watchLost is for how long no manager may answer.
	watchLost = 30 * time.Second
	barWidth  = 30
)

// watch shows how copying goes on until there is none, which may take as long as it takes.
// It fails when no manager answers for watchLost.
func (c *ctl) watch(ctx context.Context) error {
	terminal := false
	if f, ok := c.out.(*os.File); ok && !c.json {
		terminal = term.IsTerminal(f.Fd())
	}
	poll := time.NewTicker(watchEvery)
	defer poll.Stop()
	var last *control.Progress
	var said time.Time
	heard := c.now()
	for {
		asked, cancel := context.WithTimeout(ctx, Deadline)
		s, err := c.client.Status(asked)
		cancel()
		now := c.now()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && now.Sub(heard) > watchLost:
			return fmt.Errorf("how the copying goes on is not known: %w", err)
		case err != nil:
		default:
			heard = now
			if s.Progress == nil && s.Moving == 0 {
				c.watched(s, last, terminal)
				return nil
			}
			if last = s.Progress; last == nil {
				break
			}
			switch {
			case c.json:
				if err := WriteJSON(c.out, last); err != nil {
					return err
				}
			case terminal:
				fmt.Fprintf(c.out, "\r\x1b[K%s %s", bar(last), progressLine(last))
			case now.Sub(said) >= watchSay:
				said = now
				fmt.Fprintln(c.out, progressLine(last))
			}
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			if terminal {
				fmt.Fprintln(c.out)
			}
			return ctx.Err()
		}
	}
}

// watched says how it ended.
func (c *ctl) watched(s *control.Status, last *control.Progress, terminal bool) {
	if c.json {
		return
	}
	if terminal && last != nil {
		fmt.Fprint(c.out, "\r\x1b[K")
	}
	done := "all copies are made"
	if last != nil {
		done += fmt.Sprintf(" (about %s)", showBytes(last.BytesDone+uint64(max(last.BytesLeft, 0))))
	}
	if s.Short > 0 {
		done += fmt.Sprintf("; %d partitions have fewer than they should: see kumoctl doctor", s.Short)
	}
	fmt.Fprintln(c.out, done)
}

// progressLine is how far copying is, for a person.
func progressLine(p *control.Progress) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d copies, %s", p.PartitionsDone, p.PartitionsDone+p.PartitionsLeft, showBytes(p.BytesDone))
	if p.BytesLeft >= 0 {
		fmt.Fprintf(&b, " of about %s", showBytes(p.BytesDone+uint64(p.BytesLeft)))
	}
	switch {
	case p.Paused:
		b.WriteString(", paused (kumoctl MANAGER replace --resume)")
	default:
		fmt.Fprintf(&b, ", %s/s", showBytes(p.BytesPerSecond))
		if p.SecondsLeft >= 0 {
			fmt.Fprintf(&b, ", about %s left", time.Duration(p.SecondsLeft)*time.Second)
		}
	}
	return b.String()
}

// bar is how far copying is, as a picture.
func bar(p *control.Progress) string {
	full := 0
	if all := p.PartitionsDone + p.PartitionsLeft; all > 0 {
		full = barWidth * p.PartitionsDone / all
	}
	return "[" + strings.Repeat("#", full) + strings.Repeat("-", barWidth-full) + "]"
}

// showBytes is a number of bytes with a unit, three digits long or so.
func showBytes(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/1024, 0
	for v >= 1000 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	if v < 10 {
		return fmt.Sprintf("%.1f %ciB", v, units[i])
	}
	return fmt.Sprintf("%.0f %ciB", v, units[i])
}

// drain has a server hand over what it leads, and waits until it leads nothing, or
// nobody else can.
func (c *ctl) drain(ctx context.Context, command string, req control.CommandRequest) error {
	if err := c.command(ctx, command, req); err != nil || command != "drain" {
		return err
	}
	poll := time.NewTicker(watchEvery / 5)
	defer poll.Stop()
	for left := 0; ; {
		s, err := c.client.Status(ctx)
		if err == nil {
			n := named(s, req.Args[0])
			switch {
			case n == nil:
				return fmt.Errorf("drain: %s is not attached any more", req.Args[0])
			case n.Leaving == "drained":
				if !c.json {
					fmt.Fprintf(c.out, "drained: %s leads nothing\n", n.Addr)
				}
				return nil
			}
			left = n.Primaries
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) && left > 0 {
				return fmt.Errorf("drain: %s still leads %d partitions; it goes on: see kumoctl status --verbose (partitions without another replica stay)", req.Args[0], left)
			}
			return ctx.Err()
		}
	}
}

// named is the attached server of this address, host or ID.
func named(s *control.Status, name string) *control.NodeStatus {
	for i := range s.Attached {
		n := &s.Attached[i]
		if n.Addr == name || n.ID == name || strings.HasPrefix(n.Addr, name+":") {
			return n
		}
	}
	return nil
}

// copyFlags are replace's that begin nothing, but change how copies are made.
type copyFlags struct {
	pause, resume, cancel bool
	rate, atOnce          string // "": not given
}

func registerCopyFlags(flags *cli.Flags) (get func() copyFlags) {
	pause := flags.Bool("", "pause", "replace: begin no further copies until --resume")
	resume := flags.Bool("", "resume", "replace: go on with them")
	cancel := flags.Bool("", "cancel", "replace: make no further copies, but of what has too few")
	rate := flags.String("", "rate", "SIZE/s|default", "", "replace: limit of each server's copying from now on; backup --to, restore: of all that is sent")
	atOnce := flags.String("", "at-once", "N|default", "", "replace: copies that each server sends at a time from now on")
	return func() copyFlags { return copyFlags{*pause, *resume, *cancel, *rate, *atOnce} }
}

// request is what they ask the manager for; nil: nothing.
func (f *copyFlags) request() (*control.CommandRequest, error) {
	var args []string
	if f.pause {
		args = append(args, "pause")
	}
	if f.resume {
		args = append(args, "resume")
	}
	if f.rate != "" {
		n := int64(0)
		if f.rate != "default" {
			var err error
			if n, err = cli.ParseSize(strings.TrimSuffix(f.rate, "/s")); err != nil || n <= 0 {
				return nil, fmt.Errorf("--rate %s: must be a size a second like 20M/s, or default", cli.Quote(f.rate))
			}
		}
		args = append(args, fmt.Sprintf("rate=%d", n))
	}
	if f.atOnce != "" {
		n := 0
		if f.atOnce != "default" {
			if _, err := fmt.Sscanf(f.atOnce, "%d", &n); err != nil || n < 1 || n > 64 || fmt.Sprint(n) != f.atOnce {
				return nil, fmt.Errorf("--at-once %s: must be 1 to 64, or default", cli.Quote(f.atOnce))
			}
		}
		args = append(args, fmt.Sprintf("at-once=%d", n))
	}
	switch {
	case f.pause && f.resume, f.cancel && len(args) > 0:
		return nil, errors.New("--pause, --resume and --cancel exclude each other; --cancel goes alone")
	case f.cancel:
		return &control.CommandRequest{Command: "cancel"}, nil
	case len(args) > 0:
		return &control.CommandRequest{Command: "copying", Args: args}, nil
	}
	return nil, nil
}

// writeProgress is what status --verbose says of copying.
func writeProgress(w io.Writer, s *control.Status) {
	if s.Progress == nil && s.Copying == "" {
		return
	}
	fmt.Fprintln(w, "copying:")
	if s.Progress != nil {
		fmt.Fprintf(w, "  %s\n", progressLine(s.Progress))
	}
	if s.Copying != "" {
		fmt.Fprintf(w, "  each server sends %s\n", s.Copying)
	}
}
