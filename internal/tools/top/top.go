// Package top is the program kumotop: a table of what each server does, redrawn
// every second.
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
	"github.com/kumofs/kumofs/internal/hotkeys"
	"github.com/kumofs/kumofs/internal/tools"
)

// hotKeysUsual is how many hot keys --json and the live table show.
const hotKeysUsual = 20

// options are what the command line says beside whom to ask.
type options struct {
	interval time.Duration
	asJSON   bool
	wide     bool
	gateways bool
	hotKeys  int // 0: none
	sortBy   *column[Row]
}

// Run is the program kumotop.
func Run(ctx context.Context, args []string, out io.Writer) error {
	f := cli.NewFlags("kumotop", "SERVER[:PORT=19800]... [flags]\n-m MANAGER[:PORT=19700][,MANAGER...] [flags]")
	f.About("Shows what each server does, until q is pressed; ? shows the keys.\nPrinted once where the output is no terminal.")
	managers := tools.ManagerFlag(f, "show every server of this manager's cluster")
	openSecret := tools.SecretFlag(f)
	o := options{}
	interval := f.Seconds("i", "interval", time.Second, "time between two looks")
	once := f.Bool("", "once", "print one table and end")
	asJSON := f.Bool("", "json", "print one look as JSON and end")
	wide := f.Bool("", "wide", "with --once: all columns of the live table")
	gateways := f.Bool("", "gateways", "show the gateways, too (with -m)")
	hot := f.Int("", "hot-keys", "N", 0, 0, hotkeys.Most, "show the N keys read and written most, too")
	sortBy := f.String("", "sort", "COLUMN", "address", "sort by this column")
	f.Check(func() error {
		if o.sortBy = sortColumn(*sortBy); o.sortBy == nil {
			return fmt.Errorf("--sort: there is no column %q; there are %s", *sortBy, strings.Join(sortNames(), " "))
		}
		return nil
	})
	if err := f.Parse(args, out); err != nil {
		return err
	}
	managed := f.Given("manager")
	if managed == (len(f.Args()) > 0) {
		return f.UsageError("needs either -m MANAGER or a list of servers")
	}
	if *gateways && !managed {
		return f.UsageError("--gateways needs -m MANAGER: managers know the gateways")
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
	o.interval, o.asJSON, o.wide, o.gateways, o.hotKeys = *interval, *asJSON, *wide, *gateways, *hot
	a, b := newAsker(addrs, managed, sec), newBoard(addrs, managed)
	if *asJSON || *once || !isTerminal(out) {
		return printOnce(ctx, out, a, b, &o)
	}
	m := newModel(ctx, a, b, &o, os.Getenv)
	_, err = tea.NewProgram(m, tea.WithContext(ctx), tea.WithOutput(out), tea.WithoutSignalHandler()).Run()
	if errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil {
		return nil
	}
	return err
}

// isTerminal tells whether a table can be drawn over and over.
func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	return ok && term.IsTerminal(file.Fd()) && os.Getenv("TERM") != "dumb"
}

// printOnce looks twice, because a rate needs two samples, and prints the second.
func printOnce(ctx context.Context, out io.Writer, a *asker, b *board, o *options) error {
	hot, gateways := o.hotKeys, o.gateways
	if o.asJSON {
		gateways = true
		if hot == 0 {
			hot = hotKeysUsual
		}
	}
	a.look(ctx, b, gateways, 0)
	if b.statusErr != nil {
		return b.statusErr
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(o.interval):
	}
	a.look(ctx, b, gateways, hot)
	rows := b.rows()
	sortRows(rows, o.sortBy, false)
	if o.asJSON {
		if err := tools.WriteJSON(out, Sample{Time: time.Now(), Rows: rows, Gateways: b.gatewayRows(), HotKeys: b.hotKeys(hot)}); err != nil {
			return err
		}
	} else {
		fmt.Fprint(out, tables(b, rows, o))
	}
	var failed []string
	for _, r := range rows {
		if r.Error != "" {
			failed = append(failed, r.Error)
		}
	}
	// A list of servers was asked for by name; of a cluster's servers some may be
	// at fault, and the table says so.
	if len(failed) > 0 && a.managers == nil {
		return errors.New(strings.Join(failed, "\n"))
	}
	return b.statusErr
}

// tables is what --once prints: the servers, then what else was asked for.
func tables(b *board, rows []Row, o *options) string {
	columns := serverColumns[:originalColumns]
	if o.wide {
		columns = nil
		for _, c := range serverColumns {
			if c.trend == nil { // which has a point or two here
				columns = append(columns, c)
			}
		}
	}
	s := text(columns, rows)
	if o.gateways {
		var columns []column[Gateway]
		for _, c := range gatewayColumns {
			if c.trend == nil {
				columns = append(columns, c)
			}
		}
		s += "\n" + text(columns, b.gatewayRows())
	}
	if o.hotKeys > 0 {
		s += "\n" + text(hotColumns, b.hotKeys(o.hotKeys))
	}
	return s
}
