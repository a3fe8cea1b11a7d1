// Command kumostat shows what servers say of themselves.
package main

import (
	"context"
	"os"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/tools"
)

func main() {
	cli.Main("kumostat", func(ctx context.Context) error {
		return tools.Kumostat(ctx, os.Args[1:], os.Stdout, os.Stderr)
	})
}
