package tools

import (
	"context"
	"fmt"
	"net"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/control"
)

// Finding is one thing that doctor has to say.
type Finding struct {
	Level string `json:"level"` // ERROR, WARNING, INFO
	Text  string `json:"text"`
	Do    string `json:"do,omitempty"` // what mends it
}

// doctor looks for what is wrong or soon will be; only errors make it fail.
func (c *ctl) doctor(ctx context.Context) error {
	s, err := c.client.Status(ctx)
	if err != nil {
		return err
	}
	sortNodes(s.Attached)
	sortNodes(s.NotAttached)
	findings := append(examine(s), c.examineServers(ctx, s)...)
	findings = append(findings, Finding{Level: "INFO", Text: survives(s)})
	failed := false
	for _, f := range findings {
		failed = failed || f.Level == "ERROR"
	}
	if c.json {
		if err := WriteJSON(c.out, findings); err != nil {
			return err
		}
	} else {
		c.writeFindings(s, findings)
	}
	if failed {
		return &cli.Exit{Code: 1}
	}
	return nil
}

func (c *ctl) writeFindings(s *control.Status, findings []Finding) {
	if len(findings) == 1 { // how much it survives
		fmt.Fprintf(c.out, "healthy: %d servers, %d managers, clock %d\n", len(s.Attached), len(s.Managers), s.Clock)
	}
	for _, f := range findings {
		fmt.Fprintf(c.out, "%s: %s\n", f.Level, f.Text)
		if f.Do != "" {
			fmt.Fprintf(c.out, "  %s\n", f.Do)
		}
	}
}

// examine judges the manager's status.
func examine(s *control.Status) (out []Finding) {
	say := func(level, do, format string, args ...any) {
		out = append(out, Finding{level, fmt.Sprintf(format, args...), do})
	}
	if s.Unavailable > 0 {
		say("ERROR", "start the servers that held them; they resume by themselves",
			"%d of %d partitions have no server: their keys cannot be read or written", s.Unavailable, s.Partitions)
	}
	for _, t := range s.Troubles {
		say("ERROR", t.Do, "%s", t.Text)
	}
	for _, n := range s.Attached {
		if n.Damaged > 0 {
			say("WARNING", "see its log, and kumoctl M scrub --wait", "%d places in the store of server %s are damaged, and not mended yet", n.Damaged, n.Addr)
		}
		switch n.Disk {
		case control.DiskFull:
			say("ERROR", "make room there, or add servers", "the disk of server %s is full: it takes no writes and gives its partitions to others", n.Addr)
		case control.DiskLow:
			say("WARNING", "make room there, or add servers", "the disk of server %s is low on space", n.Addr)
		}
	}
	active, hosts := 0, map[string]bool{}
	for _, n := range s.Attached {
		if n.State == "active" {
			active++
			host, _, _ := net.SplitHostPort(n.Addr)
			hosts[host] = true
			continue
		}
		say("ERROR", "start it and run attach, or run detach to do without it", "server %s is at fault", n.Addr)
	}
	for _, n := range s.NotAttached {
		switch n.State {
		case "refused":
			say("ERROR", "", "server %s is refused: %s", n.Addr, n.Note)
		case "new":
			say("WARNING", "run attach", "server %s is not attached", n.Addr)
		}
	}
	if len(s.Attached) > 0 && active < s.Replication {
		say("WARNING", fmt.Sprintf("attach servers until there are %d", s.Replication),
			"%d active servers cannot hold %d copies of each pair", active, s.Replication)
	} else if active > 1 && len(hosts) == 1 {
		say("WARNING", "", "all servers are on one host: if it fails, all copies do")
	}
	paused := s.Progress != nil && s.Progress.Paused
	switch {
	case paused && s.Short > 0:
		say("ERROR", "run replace --resume", "copying is paused, while %d partitions lack copies", s.Short)
	case paused:
		say("WARNING", "run replace --resume", "copying is paused, %d copies wait", s.Moving)
	case s.Short > 0 && s.Moving == 0:
		say("WARNING", "run replace", "%d partitions lack copies, and none are being made", s.Short)
	case s.Moving > 0:
		say("WARNING", "", "%d copies are being made, %d partitions lack some meanwhile", s.Moving, s.Short)
	}
	leader := false
	for _, m := range s.Managers {
		leader = leader || m.Leader
	}
	if len(s.Managers) > 0 && !leader {
		say("ERROR", "start the managers that are missing", "the managers have no leader: no failover happens")
	}
	if len(s.Managers) == 1 {
		say("WARNING", "run a second kumo-manager, each naming the other with -p",
			"there is one manager: while it is down a failed server is not replaced")
	}
	return out
}
