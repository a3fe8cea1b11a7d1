// Command kumofs is the one-process form: `kumofs local` runs a manager, servers
// and a gateway together.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/local"
)

const usage = `usage: kumofs COMMAND [flags]

Commands:
  local      run a cluster in this process: a manager, servers and a memcached port
  version    print the version

kumofs local --help shows its flags.
`

func main() {
	cli.Main("kumofs", func(ctx context.Context) error { return run(ctx, os.Args[1:], os.Stdout) })
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return &cli.UsageError{Prog: "kumofs", Msg: "needs a command", Help: "\n" + usage}
	}
	switch args[0] {
	case "local":
		return runLocal(ctx, args[1:], out)
	case "version", "--version":
		_, err := fmt.Fprintln(out, "kumofs", cli.Version)
		return err
	case "help", "-h", "--help":
		_, err := io.WriteString(out, usage)
		return err
	}
	return &cli.UsageError{Prog: "kumofs", Msg: fmt.Sprintf("unknown command %q", args[0]), Help: "\n" + usage}
}

func runLocal(ctx context.Context, args []string, out io.Writer) error {
	f := cli.NewFlags("kumofs local", "[--servers N] [--port PORT] [--data DIR] [flags]")
	f.About("A cluster in one process: a manager, servers, and memcached on 127.0.0.1.\nThe data stays when it is stopped, and is used again.")
	servers := f.Int("", "servers", "N", 3, 1, 64, "servers to run")
	port := f.Port("", "port", 11211, "port of memcached, on 127.0.0.1")
	data := f.String("", "data", "DIR", "./kumofs-data", "directory of the data")
	fsync := f.Bool("", "fsync", "acknowledge a write only when it is safe from power loss")
	cache := cli.CacheFlag(f)
	verbose := f.Bool("v", "verbose", "log events too")
	logFile := f.String("o", "log", "PATH", "", "append the log to this file")
	var form cli.LogOptions
	cli.LogFlags(f, &form)
	var serve cli.ServeOptions
	cli.ServeFlags(f, &serve)
	var access cli.Access
	cli.LocalAccessFlags(f, &access, &serve)
	f.NoArgs()
	if err := f.Parse(args, out); err != nil {
		return err
	}
	form.Verbose, form.File = *verbose, *logFile
	log, files, err := cli.SetupLogging(form)
	if err != nil {
		return err
	}
	defer files.Close()
	cli.LimitMemory(log)
	for _, w := range f.Warnings() {
		log.Warn(w)
	}
	gates, closeGates, err := access.Gates(log)
	if err != nil {
		return err
	}
	defer closeGates()
	return local.Run(ctx, local.Config{
		Servers: *servers, Port: *port, Data: *data, Fsync: *fsync, CacheSize: cache(*servers),
		Serve: serve, Gates: *gates, SecretFile: access.SecretFile, Out: out, Log: log, LogLevel: files.Level,
	})
}
