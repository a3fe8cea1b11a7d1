// Command kumohash shows hashes of keys and which servers hold them.
package main

import (
	"context"
	"os"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/tools"
)

func main() {
	cli.Main("kumohash", func(ctx context.Context) error {
		return tools.Kumohash(ctx, os.Args[1:], os.Stdout)
	})
}
