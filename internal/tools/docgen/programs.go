package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/tools"
	"github.com/kumofs/kumofs/internal/tools/bench"
	"github.com/kumofs/kumofs/internal/tools/mergedb"
	"github.com/kumofs/kumofs/internal/tools/top"
)

// program is one of kumofs' programs.
type program struct {
	name    string
	section int    // of its manual page: 1 for tools, 8 for daemons
	purpose string // in a few words
	forms   func() ([]cli.Description, error)
}

// programs are all of them, in the order of documents.
var programs = []program{
	{"kumo-manager", 8, "keeps the map of a kumofs cluster", flags(func() *cli.Flags { f, _ := cli.ManagerFlags(); return f })},
	{"kumo-server", 8, "stores the data of a kumofs cluster", flags(func() *cli.Flags { f, _ := cli.ServerFlags(); return f })},
	{"kumo-gateway", 8, "serves memcached clients from a kumofs cluster", flags(func() *cli.Flags { f, _ := cli.GatewayFlags(); return f })},
	{"kumofs", 1, "runs a whole kumofs cluster in one process", kumofs},
	{"kumoctl", 1, "tells a kumofs cluster what to do, and shows how it is", run(tools.Kumoctl)},
	{"kumostat", 1, "shows what servers of kumofs say of themselves", run(func(ctx context.Context, args []string, out io.Writer) error {
		return tools.Kumostat(ctx, args, out, io.Discard)
	})},
	{"kumotop", 1, "shows what each server of kumofs does, live", run(top.Run)},
	{"kumohash", 1, "shows where kumofs keeps a key", run(tools.Kumohash)},
	{"kumolog", 1, "prints the structured logs of kumofs", run(tools.Kumolog)},
	{"kumomergedb", 1, "makes one store of kumofs of several", run(mergedb.Run)},
	{"kumobench", 1, "puts a memcached server under load and measures it", run(bench.Kumobench)},
}

// flags describes a daemon, whose command line is made without running it.
func flags(f func() *cli.Flags) func() ([]cli.Description, error) {
	return func() ([]cli.Description, error) { return []cli.Description{f().Describe()}, nil }
}

// run describes a tool by asking it.
func run(tool func(context.Context, []string, io.Writer) error) func() ([]cli.Description, error) {
	return func() ([]cli.Description, error) {
		var out bytes.Buffer
		if err := tool(context.Background(), []string{"--describe-flags"}, &out); !errors.Is(err, cli.ErrHelp) {
			return nil, fmt.Errorf("--describe-flags: %w", err)
		}
		var d cli.Description
		if err := json.Unmarshal(out.Bytes(), &d); err != nil {
			return nil, err
		}
		return []cli.Description{d}, nil
	}
}

// kumofs describes the program of that name: itself, then its commands that have flags.
func kumofs() ([]cli.Description, error) {
	_, usage, _ := strings.Cut(cli.KumofsUsage, "\n")
	local, _ := cli.LocalFlags()
	health, err := run(tools.Health)()
	if err != nil {
		return nil, err
	}
	return append([]cli.Description{{Prog: "kumofs", Synopsis: []string{"COMMAND [flags]"}, About: strings.TrimSpace(usage)}, local.Describe()}, health...), nil
}
