// Command kumo-server stores the data (DESIGN: a primary or a replica of many partitions).
package main

import (
	"context"
	"log/slog"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/server"
)

func main() {
	f, o := cli.ServerFlags()
	cli.RunDaemon(f, &o.Common, func(ctx context.Context, log *slog.Logger, up func()) error {
		return server.Run(ctx, server.Config{
			Listen: o.Listen, StreamPort: o.StreamPort, Store: o.Store, Managers: o.Managers, Zone: o.Zone,
			Fsync: o.Fsync, CacheSize: o.CacheSize, ReplaceRate: o.ReplaceRate, ReadThreads: o.ReadThreads,
			ConnectTimeout: o.ConnectTimeout,
			Text:           o.Text, Logger: log, Ready: func(string) { up() },
		})
	})
}
