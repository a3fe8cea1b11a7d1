// Command kumo-gateway serves memcached clients from a kumofs cluster.
package main

import (
	"context"
	"log/slog"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/gateway"
)

func main() {
	f, o := cli.GatewayFlags()
	cli.RunDaemon(f, &o.Common, func(ctx context.Context, log *slog.Logger, sv *cli.Supervisor) error {
		s := &o.Serve
		gates, closeGates, err := o.Access.Gates(log)
		if err != nil {
			return err
		}
		defer closeGates()
		return gateway.Run(ctx, gateway.Config{
			Managers:       o.Managers,
			Text:           given(s.Text),
			Binary:         given(s.Binary, s.Cloudy),
			KeyPrefix:      s.KeyPrefix,
			Timeout:        s.Timeout,
			HTTP:           s.HTTP,
			MaxItemSize:    int(s.Clients.MaxItemSize),
			AllowFlushAll:  s.Clients.AllowFlushAll,
			MaxConnections: s.Clients.MaxConnections,
			IdleTimeout:    s.Clients.IdleTimeout,
			DrainTimeout:   s.Timeout,
			Secret:         gates.Secret,
			TLS:            gates.TLS,
			Auth:           gates.Auth,
			Loops:          o.Loops,
			Zone:           o.Zone,
			Version:        cli.Version,
			Log:            log,
			LogLevel:       o.LogLevel,
			Watch:          sv.Watch,
			Listening:      func([]string) { sv.Up() },
		})
	})
}

// given are the addresses that are not "".
func given(addrs ...string) []string {
	var out []string
	for _, addr := range addrs {
		if addr != "" {
			out = append(out, addr)
		}
	}
	return out
}
