package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// Version of kumofs, as --version and `kumostat version` show it. A release sets it, and
// the next two, with -ldflags "-X github.com/kumofs/kumofs/internal/cli.Version=...".
var Version = "0.1.0"

// commit and date (RFC 3339, of the commit) of what was built. Without them, what the go
// command noted of the repository is shown, if it did.
var commit, date string

// Default ports, those of the original.
const (
	ManagerPort = 19700 // managers: Raft, links, tools
	ServerPort  = 19800 // servers: data, links, tools
	StreamPort  = 19900 // servers: bulk copying
	TextPort    = 11411 // gateway: memcached
	BinaryPort  = 11511 // gateway: memcached, second port
	CloudyPort  = 11611 // gateway: memcached, third port
)

// VersionText is what --version prints: the program and its version in the first line, then
// from what it was built, and with which Go for which machines.
func VersionText(prog string) string {
	info, _ := debug.ReadBuildInfo()
	return versionText(prog, Version, commit, date, info)
}

func versionText(prog, version, commit, date string, info *debug.BuildInfo) string {
	if info != nil && commit == "" {
		set := map[string]string{}
		for _, s := range info.Settings {
			set[s.Key] = s.Value
		}
		commit, date = set["vcs.revision"], set["vcs.time"]
		if set["vcs.modified"] == "true" {
			commit += " (modified)"
		}
	}
	from := "unknown"
	if commit != "" {
		from = strings.TrimSuffix(commit+", "+date, ", ")
	}
	return fmt.Sprintf("%s %s\ncommit %s\n%s %s/%s\n", prog, version, from, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
