// Command kumoctl tells managers what to do and shows how the cluster is.
package main

import (
	"context"
	"os"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/tools"
)

func main() {
	cli.Main("kumoctl", func(ctx context.Context) error {
		return tools.Kumoctl(ctx, os.Args[1:], os.Stdout)
	})
}
