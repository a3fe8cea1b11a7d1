package tools

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/charmbracelet/x/term"

	"github.com/kumofs/kumofs/internal/backup"
	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/store"
)

// misplaced names a flag that does not belong to the command, or is "".
func (o *backupOptions) misplaced(command string) string {
	switch {
	case o.overwrite && o.keep:
		return "--overwrite and --keep exclude each other"
	case o.to != "" && command != "backup":
		return "--to belongs to backup"
	case o.since != "" && o.to == "":
		return "--since belongs to backup --to"
	case o.plain && (command != "backup" || o.to == ""):
		return "--no-compress belongs to backup --to"
	case (o.keep || o.overwrite) && command != "restore":
		return "--keep and --overwrite belong to restore"
	}
	return ""
}

// offline is a command that needs no manager.
func (c *ctl) offline(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return c.usage("verify takes one backup or store")
	}
	if wrong := c.backups.misplaced("verify"); wrong != "" {
		return c.usage("%s", wrong)
	}
	return c.verify(ctx, args[0], c.backups)
}

// streams tells whether a command is carried out from here, for as long as it takes.
func (c *ctl) streams(command string) bool {
	return command == "restore" || command == "backup" && c.backups.to != ""
}

// stream carries it out.
func (c *ctl) stream(ctx context.Context, command string, args []string) error {
	if command == "restore" {
		if len(args) != 1 {
			return c.usage("restore takes one backup")
		}
		return c.restore(ctx, args[0], c.backups)
	}
	if len(args) > 0 {
		return c.usage("backup takes a suffix or --to, not both")
	}
	return c.backupTo(ctx, c.backups)
}

// terminal tells whether progress goes to a person.
func (c *ctl) terminal() bool { return term.IsTerminal(os.Stderr.Fd()) }

// progressTo is where progress is shown; nil: nowhere.
func (c *ctl) progressTo(o *backupOptions) io.Writer {
	if o.quiet {
		return nil
	}
	return os.Stderr
}

// verify reads all of a backup or of a store that is not in use, and says what is damaged.
func (c *ctl) verify(ctx context.Context, path string, o *backupOptions) error {
	if backup.Is(path) {
		return c.verifyBackup(ctx, path, o)
	}
	return c.verifyStore(ctx, path)
}

func (c *ctl) verifyBackup(ctx context.Context, dir string, o *backupOptions) error {
	began := c.now()
	damages := []string{}
	var shown time.Time
	show := func(done, of int64) {
		if now := time.Now(); c.terminal() && !o.quiet && now.Sub(shown) > barEvery {
			shown = now
			fmt.Fprintf(os.Stderr, "\r\x1b[Kverify: %s of %s", showBytes(uint64(done)), showBytes(uint64(of)))
		}
	}
	v, err := backup.Verify(ctx, dir, func(d *backup.Damage) {
		damages = append(damages, d.Error())
		if !c.json {
			fmt.Fprintf(c.out, "damaged: %s\n", d.Error())
		}
	}, show)
	if !shown.IsZero() {
		fmt.Fprint(os.Stderr, "\r\x1b[K")
	}
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	if c.json {
		err = WriteJSON(c.out, map[string]any{"path": dir, "ok": v.Damages == 0, "damages": damages, "backups": len(v.Backups),
			"partitions": v.Sections, "pairs": v.Pairs, "deletions": v.Deleted, "bytes": v.Bytes})
	} else if v.Damages == 0 {
		for i, m := range v.Backups {
			fmt.Fprintf(c.out, "%s: %s, cluster %s, %s, %s of its own\n", v.Dirs[i], m.Began.Local().Format(time.DateTime), m.Cluster, plural(m.Pairs, "pair"), plural(m.Stored, "pair"))
		}
		fmt.Fprintf(c.out, "all is well: %s in %s read in %v\n", plural(v.Pairs, "pair"), showBytes(uint64(v.Bytes)), c.now().Sub(began).Round(10*time.Millisecond))
	}
	if err == nil && v.Damages > 0 {
		err = &cli.Exit{Code: 1, Msg: fmt.Sprintf("verify: %s: %s found", dir, plural(int64(v.Damages), "damage"))}
	}
	return err
}

func (c *ctl) verifyStore(ctx context.Context, path string) error {
	began := c.now()
	damages := []string{}
	v, err := store.Verify(ctx, path, store.Options{}, func(d *store.Damage) {
		damages = append(damages, d.Error())
		if !c.json {
			fmt.Fprintf(c.out, "damaged: %s\n", d.Error())
		}
	})
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	if c.json {
		err = WriteJSON(c.out, map[string]any{"path": path, "ok": len(damages) == 0, "damages": damages, "partitions": v.Partitions, "pairs": v.Items, "chunks": v.Chunks, "bytes": v.Bytes})
	} else if len(damages) == 0 {
		fmt.Fprintf(c.out, "all is well: %s of %d partitions in %d files, %s read in %v\n", plural(v.Items, "pair"), v.Partitions, v.Files, showBytes(uint64(v.Bytes)), c.now().Sub(began).Round(10*time.Millisecond))
	}
	if err == nil && len(damages) > 0 {
		err = &cli.Exit{Code: 1, Msg: fmt.Sprintf("verify: %s: %s found", path, plural(int64(len(damages)), "damage"))}
	}
	return err
}
