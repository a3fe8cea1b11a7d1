// Command kumomergedb makes one store of several.
package main

import (
	"context"
	"os"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/tools/mergedb"
)

func main() {
	cli.Main("kumomergedb", func(ctx context.Context) error {
		return mergedb.Run(ctx, os.Args[1:], os.Stdout)
	})
}
