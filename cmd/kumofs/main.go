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
	"github.com/kumofs/kumofs/internal/tools"
)

func main() {
	cli.Main("kumofs", func(ctx context.Context) error { return run(ctx, os.Args[1:], os.Stdout) })
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return &cli.UsageError{Prog: "kumofs", Msg: "needs a command", Help: "\n" + cli.KumofsUsage}
	}
	switch args[0] {
	case "local":
		return runLocal(ctx, args[1:], out)
	case "health":
		return tools.Health(ctx, args[1:], out)
	case "version", "--version":
		_, err := io.WriteString(out, cli.VersionText("kumofs"))
		return err
	case "help", "-h", "--help":
		_, err := io.WriteString(out, cli.KumofsUsage)
		return err
	}
	return &cli.UsageError{Prog: "kumofs", Msg: fmt.Sprintf("unknown command %q", args[0]), Help: "\n" + cli.KumofsUsage}
}

func runLocal(ctx context.Context, args []string, out io.Writer) error {
	f, o := cli.LocalFlags()
	if err := f.Parse(args, out); err != nil {
		return err
	}
	form := o.LogForm
	form.Verbose, form.File = o.Verbose, o.Log
	log, files, err := cli.SetupLogging(form)
	if err != nil {
		return err
	}
	defer files.Close()
	cli.LimitMemory(log)
	for _, w := range f.Warnings() {
		log.Warn(w)
	}
	gates, closeGates, err := o.Access.Gates(log)
	if err != nil {
		return err
	}
	defer closeGates()
	sv := cli.Supervise(ctx, log)
	defer sv.Close()
	return local.Run(ctx, local.Config{
		Servers: o.Servers, Port: o.Port, Data: o.Data, Fsync: o.Fsync, CacheSize: o.CacheSize,
		Serve: o.Serve, Gates: *gates, SecretFile: o.Access.SecretFile, Out: out, Log: log, LogLevel: files.Level,
		Watch: sv.Watch, Up: sv.Up,
	})
}
