// Command kumo-manager keeps the cluster map.
package main

import (
	"context"
	"log/slog"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/manager"
)

func main() {
	f, o := cli.ManagerFlags()
	cli.RunDaemon(f, &o.Common, func(ctx context.Context, log *slog.Logger, sv *cli.Supervisor) error {
		gates, closeGates, err := o.Access.Gates(log)
		if err != nil {
			return err
		}
		defer closeGates()
		return manager.Run(ctx, manager.Config{
			Listen: o.Listen, Advertise: o.Advertise, Partners: o.Partners, Alone: o.Alone, StateDir: o.State, AutoReplace: o.AutoReplace, ReplaceDelay: o.ReplaceDelay, DetachDelay: o.DetachDelay,
			ConnectTimeout: o.ConnectTimeout, ConnectRetry: o.ConnectRetryLimit, Keepalive: o.Keepalive, Secret: gates.Secret, OpenMetrics: o.Access.OpenMetrics,
			HTTP: o.HTTP, ConsoleCommands: o.ConsoleCommands, Logger: log, LogLevel: o.LogLevel, Watch: sv.Watch, Up: sv.Up,
		})
	})
}
