// Package mergedb is the program kumomergedb: it makes one store of several
// backups or stopped stores.
package mergedb

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/charmbracelet/x/term"

	"github.com/kumofs/kumofs/internal/backup"
	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/store"
	"github.com/kumofs/kumofs/internal/tools"
)

// Run is the program kumomergedb.
func Run(ctx context.Context, args []string, out io.Writer) error {
	f := cli.NewFlags("kumomergedb", "DST SRC... [flags]")
	f.About("Makes the store DST, which must not exist, of the stores SRC: backups, or stores\n" +
		"whose servers are stopped. Each partition is taken from the source that knew its\n" +
		"latest write, so that what was deleted stays deleted. Or imports the .tch files of all\n" +
		"servers of an original kumofs, whose servers are stopped; or one backup that was made\n" +
		"with kumoctl backup --to.")
	asJSON := f.Bool("", "json", "print JSON")
	quiet := f.Bool("q", "quiet", "show no progress")
	if err := f.Parse(args, out); err != nil {
		return err
	}
	if len(f.Args()) < 2 {
		return f.UsageError("needs a destination and at least one source")
	}
	show := !*quiet && term.IsTerminal(os.Stderr.Fd())
	stats, err := merge(ctx, f.Args()[0], f.Args()[1:], show)
	if err != nil {
		return err
	}
	if *asJSON {
		return tools.WriteJSON(out, result(f.Args()[0], stats))
	}
	fmt.Fprintf(out, "merged %d items of %d partitions into %s\n", stats.Items, stats.Partitions, f.Args()[0])
	if n := len(stats.Unfinished); n > 0 {
		fmt.Fprintf(os.Stderr, "kumomergedb: of %d partitions no source had a whole copy: keys deleted there may be back\n", n)
	}
	return nil
}

// merge runs Merge, which knows no context: an interrupted program ends as soon
// as a signal comes, and what is half made is cleared by the next merge.
func merge(ctx context.Context, dst string, srcs []string, show bool) (store.MergeStats, error) {
	type outcome struct {
		stats store.MergeStats
		err   error
	}
	done := make(chan outcome, 1)
	go func() {
		var o outcome
		switch i := slices.IndexFunc(srcs, backup.Is); {
		case i < 0:
			o.stats, o.err = store.Merge(dst, srcs, store.Options{}, progress(show))
		case len(srcs) > 1:
			o.err = fmt.Errorf("%s is a backup of a whole cluster and is not merged with others: name it alone", srcs[i])
		default:
			o.stats, o.err = backup.ToStore(ctx, dst, srcs[0], store.Options{}, progress(show))
		}
		done <- o
	}()
	select {
	case o := <-done:
		if show {
			fmt.Fprintln(os.Stderr)
		}
		return o.stats, o.err
	case <-ctx.Done():
		return store.MergeStats{}, fmt.Errorf("interrupted: %s was not made (%s.part can be removed)", dst, dst)
	}
}

// progress rewrites one line on the terminal.
func progress(show bool) func(done, of int) {
	if !show {
		return nil
	}
	last := -1
	return func(done, of int) {
		if percent := done * 100 / max(of, 1); percent != last {
			last = percent
			fmt.Fprintf(os.Stderr, "\r%3d%%  %d of %d partitions", percent, done, of)
		}
	}
}

// result is what --json prints.
func result(dst string, s store.MergeStats) any {
	unfinished := []int{}
	for _, p := range s.Unfinished {
		unfinished = append(unfinished, int(p))
	}
	return map[string]any{
		"store": dst, "partitions": s.Partitions, "items": s.Items, "bytes": s.Bytes,
		"dropped": s.Dropped, "unfinished": unfinished,
	}
}
