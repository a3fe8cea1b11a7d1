// Command kumobench puts a server under load and measures it.
package main

import (
	"context"
	"os"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/tools/bench"
)

func main() {
	cli.Main("kumobench", func(ctx context.Context) error {
		return bench.Kumobench(ctx, os.Args[1:], os.Stdout)
	})
}
