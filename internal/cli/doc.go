// Package cli is what every program of kumofs shares on its way in and out:
// command lines in the manner of the original (each flag with a short and a
// long name), addresses, logging, signals, exit statuses and running as a
// daemon.
//
// A daemon's main registers a group (ManagerFlags, ServerFlags, GatewayFlags)
// and hands its run function to RunDaemon; a tool's main makes its own Flags
// and calls Main. The package knows no other package of kumofs.
package cli
