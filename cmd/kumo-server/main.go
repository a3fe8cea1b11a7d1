// Command kumo-server stores the data (it is primary or replica of many partitions).
package main

import (
	"context"
	"log/slog"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/server"
)

func main() {
	f, o := cli.ServerFlags()
	cli.RunDaemon(f, &o.Common, func(ctx context.Context, log *slog.Logger, sv *cli.Supervisor) error {
		gates, closeGates, err := o.Access.Gates(log)
		if err != nil {
			return err
		}
		defer closeGates()
		return server.Run(ctx, server.Config{
			Listen: o.Listen, StreamPort: o.StreamPort, Store: o.Store, Managers: o.Managers, Zone: o.Zone,
			Fsync: o.Fsync, CacheSize: o.CacheSize, ReplaceRate: o.ReplaceRate, ReadThreads: o.ReadThreads,
			DiskLow: server.Share(o.DiskLow), DiskFull: server.Share(o.DiskFull),
			ScrubRate: o.ScrubRate, ScrubInterval: o.ScrubInterval,
			ConnectTimeout: o.ConnectTimeout, DrainTimeout: o.DrainTimeout,
			Secret:      gates.Secret,
			OpenMetrics: o.Access.OpenMetrics,
			Text:        o.Text, TextTLS: gates.TLS, TextAuth: gates.Auth, Clients: o.Clients,
			Logger: log, LogLevel: o.LogLevel, Watch: sv.Watch, Ready: func(string) { sv.Up() },
		})
	})
}
