// Command kumotop shows what each server does, live.
package main

import (
	"context"
	"os"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/tools/top"
)

func main() {
	cli.Main("kumotop", func(ctx context.Context) error {
		return top.Run(ctx, os.Args[1:], os.Stdout)
	})
}
