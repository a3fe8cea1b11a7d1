package top

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/term"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/tools"
)

// Run is the program kumotop.
func Run(ctx context.Context, args []string, out io.Writer) error {
	f := cli.NewFlags("kumotop", "SERVER[:PORT=19800]... [flags]\n-m MANAGER[:PORT=19700][,MANAGER...] [flags]")
	f.About("Shows what each server does, until q is pressed. Printed once where the output\nis no terminal.")
	managers := tools.ManagerFlag(f, "show every server of this manager's cluster")
	openSecret := tools.SecretFlag(f)
	interval := f.Seconds("i", "interval", time.Second, "time between two looks")
	once := f.Bool("", "once", "print one table and end")
	asJSON := f.Bool("", "json", "print one look as JSON and end")
	if err := f.Parse(args, out); err != nil {
		return err
	}
	managed := f.Given("manager")
	if managed == (len(f.Args()) > 0) {
		return f.UsageError("needs either -m MANAGER or a list of servers")
	}
	var addrs []string
	var err error
	if managed {
		addrs, err = tools.ResolveAny(f, *managers, cli.ManagerPort)
	} else {
		addrs, err = cli.ResolveList(strings.Join(f.Args(), ","), cli.ServerPort)
	}
	if err != nil {
		return err
	}
	sec, err := openSecret()
	if err != nil {
		return err
	}
	s := newSampler(addrs, managed, sec)
	if *asJSON || *once || !isTerminal(out) {
		return printOnce(ctx, out, s, *interval, *asJSON)
	}
	m := model{ctx: ctx, s: s, interval: *interval}
	_, err = tea.NewProgram(m, tea.WithContext(ctx), tea.WithOutput(out), tea.WithoutSignalHandler()).Run()
	if errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil {
		return nil
	}
	return err
}

func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	return ok && term.IsTerminal(file.Fd())
}

// printOnce looks twice, because a rate needs two samples, and prints the second.
func printOnce(ctx context.Context, out io.Writer, s *sampler, interval time.Duration, asJSON bool) error {
	first := s.sample(ctx)
	if first.Err != nil {
		return first.Err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(interval):
	}
	second := s.sample(ctx)
	if asJSON {
		if err := tools.WriteJSON(out, second); err != nil {
			return err
		}
	} else {
		fmt.Fprint(out, table(second.Rows))
	}
	var failed []string
	for _, r := range second.Rows {
		if r.Error != "" {
			failed = append(failed, r.Error)
		}
	}
	// A list of servers was asked for by name; of a cluster's servers some may be
	// at fault, and the table says so.
	if len(failed) > 0 && s.managers == nil {
		return errors.New(strings.Join(failed, "\n"))
	}
	return second.Err
}

// model is the live table.
type model struct {
	ctx      context.Context
	s        *sampler
	interval time.Duration
	shown    *Sample
	width    int
	height   int
}

type tick struct{}

// Init takes the first sample.
func (m model) Init() tea.Cmd { return m.look }

func (m model) look() tea.Msg {
	s := m.s.sample(m.ctx)
	return &s
}

// Update takes in a sample, the time for the next, a key or the window's size.
func (m model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case *Sample:
		m.shown = msg
		return m, tea.Tick(m.interval, func(time.Time) tea.Msg { return tick{} })
	case tick:
		return m, m.look
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		switch msg.String() {
		case "q", "Q", "esc", "ctrl+c":
			return m, tea.Quit
		}
	}
	return m, nil
}

// View draws the table on the whole screen, cut to the window.
func (m model) View() tea.View {
	text := "asking the servers...\n"
	if m.shown != nil {
		text = headline(m.shown) + "\n\n" + table(m.shown.Rows)
	}
	v := tea.NewView(fit(text, m.width, m.height-1) + "q quits")
	v.AltScreen = true
	v.WindowTitle = "kumotop"
	return v
}

// fit cuts the text to the window; lines that wrapped would break the columns.
func fit(text string, width, height int) string {
	lines := strings.SplitAfter(text, "\n")
	if height > 0 && len(lines) > height {
		lines = lines[:height]
	}
	for i, line := range lines {
		if body := strings.TrimSuffix(line, "\n"); width > 0 && len(body) > width {
			lines[i] = body[:width] + "\n"
		}
	}
	return strings.Join(lines, "")
}
