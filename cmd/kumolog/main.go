// Command kumolog prints the structured logs that daemons write with -g.
package main

import (
	"context"
	"os"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/tools"
)

func main() {
	cli.Main("kumolog", func(ctx context.Context) error {
		return tools.Kumolog(ctx, os.Args[1:], os.Stdout)
	})
}
