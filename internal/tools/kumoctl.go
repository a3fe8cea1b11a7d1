package tools

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/secret"
)

const ctlCommands = `Commands:
  status                show what servers there are (also: stat)
  attach                attach all new and returned servers and copy data to them
  attach-noreplace      attach them, but move no data yet
  detach                detach all fault servers and make the missing copies (also: remove)
  detach-noreplace      detach them, but make no copies yet
  replace               copy and move what is missing or out of balance; with --pause, --resume,
                        --cancel, --rate or --at-once: change how that goes on, for all servers
  full-replace          let every copy join again and mend what is behind
  drain SERVER          have others lead what a server leads, before it is stopped on purpose
  undrain SERVER        have it lead again
  backup [SUFFIX]       checkpoint every server's store as STORE-SUFFIX (today's date)
  backup --to DIR       gather every pair once into a backup in DIR, here; with --since
                        BACKUP only what has changed since that one
  restore BACKUP        write the pairs of such a backup into the cluster
  verify PATH           read all of a backup, a checkpoint or a stopped store and name what
                        is damaged; needs no manager: kumoctl verify PATH
  enable-auto-replace   attach and detach servers without being told
  disable-auto-replace  leave that to the administrator
  recover               rebuild lost managers from what the servers know; else say which
                        partitions cannot resume, and why. With --accept-loss and
                        --partitions: resume those, and give up the stores that are away
  scrub                 have every server search its store for damage now, and mend it; with
                        --wait until that is done: exit status 1 if damage is left
  plan [COMMAND]        what attach (or detach, or replace) would move
  doctor                what is wrong; exit status 1 if there is an error`

// ctlNames are the commands that go to the manager under another or the same name.
var ctlNames = map[string]string{
	"attach": "attach", "attach-noreplace": "attach-noreplace",
	"detach": "detach", "remove": "detach", "detach-noreplace": "detach-noreplace",
	"replace": "replace", "full-replace": "full-replace", "backup": "backup",
	"enable-auto-replace": "enable-auto-replace", "disable-auto-replace": "disable-auto-replace",
	"recover": "recover", "drain": "drain", "undrain": "undrain",
}

// ctlAsked are the commands that change nothing at the manager.
var ctlAsked = []string{"status", "stat", "plan", "doctor", "scrub"}

// ctl is one run of kumoctl.
type ctl struct {
	f          *cli.Flags
	out        io.Writer
	json       bool
	verbose    bool
	wait       bool
	watching   bool
	copying    copyFlags
	acceptLoss string
	partitions string
	client     *Client
	secret     *secret.Secret
	backups    *backupOptions
	now        func() time.Time
}

// Kumoctl is the program kumoctl.
func Kumoctl(ctx context.Context, args []string, out io.Writer) error {
	f := cli.NewFlags("kumoctl", "MANAGER[:PORT=19700][,MANAGER...] COMMAND [flags]\nverify PATH [flags]")
	f.About(ctlCommands)
	asJSON := f.Bool("", "json", "print JSON")
	verbose := f.Bool("v", "verbose", "status: show the cluster, its managers, IDs and copies too")
	wait := f.Bool("w", "wait", "end when the copying that the command causes is done")
	watching := f.Bool("", "watch", "attach, detach, replace, full-replace: show how the copying goes on, to its end")
	copying := registerCopyFlags(f)
	acceptLoss := f.String("", "accept-loss", "CLUSTER", "", "go on although data of this cluster (its ID) is lost by it")
	openSecret := SecretFlag(f)
	partitions := f.String("", "partitions", "LIST|all", "", "recover --accept-loss: which partitions, like 0-3,7")
	backups := backupFlags(f)
	if err := f.Parse(args, out); err != nil {
		return err
	}
	sec, err := openSecret()
	if err != nil {
		return err
	}
	c := &ctl{f: f, secret: sec, backups: backups, out: out, json: *asJSON, verbose: *verbose, wait: *wait, watching: *watching, copying: copying(), acceptLoss: *acceptLoss, partitions: *partitions, now: time.Now}
	return c.run(ctx, f.Args())
}

// usage is a bad command line: the complaint, then what commands there are.
func (c *ctl) usage(format string, args ...any) error {
	return &cli.UsageError{Prog: "kumoctl", Msg: fmt.Sprintf(format, args...), Help: "\n" + c.f.Help()}
}

func (c *ctl) run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "verify" {
		return c.offline(ctx, args[1:])
	}
	if len(args) < 2 {
		return c.usage("needs a manager's address and a command")
	}
	command, rest := args[1], args[2:]
	name, sent := ctlNames[command]
	if !sent && !slices.Contains(ctlAsked, command) && command != "restore" {
		return c.usage("unknown command %q", command)
	}
	drains := command == "drain" || command == "undrain"
	if len(rest) > 0 && command != "backup" && command != "plan" && command != "restore" && !drains {
		return c.usage("%s: unexpected argument %q", command, rest[0])
	}
	if wrong := c.backups.misplaced(command); wrong != "" {
		return c.usage("%s", wrong)
	}
	if drains && len(rest) != 1 {
		return c.usage("%s needs one server's address or ID", command)
	}
	moves := slices.Contains([]string{"attach", "detach", "remove", "replace", "full-replace"}, command)
	if c.watching && !moves && command != "status" {
		return c.usage("--watch belongs to attach, detach, replace, full-replace and status")
	}
	if c.streams(command) {
		if err := c.backups.takeRate(&c.copying); err != nil {
			return c.usage("%s", err)
		}
	}
	tune, err := c.copying.request()
	if err != nil {
		return c.usage("%s", err)
	}
	if tune != nil && command != "replace" {
		return c.usage("--pause, --resume, --cancel, --rate and --at-once belong to replace")
	}
	if c.partitions != "" && (command != "recover" || c.acceptLoss == "") {
		return c.usage("--partitions belongs to recover --accept-loss")
	}
	managers, err := ResolveAny(c.f, args[0], cli.ManagerPort)
	if err != nil {
		return err
	}
	c.client = NewClient("manager", managers...).WithSecret(c.secret)
	defer c.client.Close()
	whole := ctx
	if c.streams(command) {
		return c.stream(ctx, command, rest)
	}
	if !c.wait {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, Deadline)
		defer cancel()
	}
	switch command {
	case "status", "stat":
		if err := c.status(ctx); err != nil || !c.watching {
			return err
		}
		return c.watch(whole)
	case "doctor":
		return c.doctor(ctx)
	case "scrub":
		return c.scrub(ctx)
	case "plan":
		planned := "attach"
		if len(rest) > 0 {
			planned = rest[0]
		}
		if len(rest) > 1 || !slices.Contains([]string{"attach", "detach", "replace"}, planned) {
			return c.usage("plan takes attach, detach or replace")
		}
		return c.plan(ctx, planned)
	case "recover":
		if c.partitions != "" {
			rest = []string{c.partitions}
		}
	case "backup":
		if rest, err = c.suffix(rest); err != nil {
			return err
		}
	case "drain", "undrain":
		return c.drain(ctx, command, control.CommandRequest{Command: name, Args: rest})
	case "replace":
		if tune != nil {
			if err := c.command(ctx, command, *tune); err != nil || !c.watching {
				return err
			}
			return c.watch(whole)
		}
	}
	if c.watching {
		if err := c.command(ctx, command, control.CommandRequest{Command: name, Args: rest, AcceptLoss: c.acceptLoss}); err != nil {
			return err
		}
		return c.watch(whole)
	}
	return c.command(ctx, command, control.CommandRequest{Command: name, Args: rest, Wait: c.wait, AcceptLoss: c.acceptLoss})
}

// suffix is the backup's: it becomes part of file names on every server.
func (c *ctl) suffix(args []string) ([]string, error) {
	switch len(args) {
	case 0:
		return []string{c.now().Format("20060102")}, nil
	case 1:
		const allowed = "letters, digits, dots, dashes and underscores"
		bad := func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r))
		}
		if args[0] == "" || strings.ContainsFunc(args[0], bad) {
			return nil, c.usage("backup: the suffix %q must be made of %s", args[0], allowed)
		}
		return args, nil
	}
	return nil, c.usage("backup takes one suffix")
}

const (
	// startLimit is how long attach waits for a manager that is being started.
	startLimit = 3 * time.Second
	startStep  = 50 * time.Millisecond
)

// command has the manager carry out a command and prints what it did.
func (c *ctl) command(ctx context.Context, command string, req control.CommandRequest) error {
	resp, err := c.client.Command(ctx, req)
	// A script starts the manager and attaches in the next line: it may not
	// listen yet. Nothing was sent, so asking again is safe.
	for give := c.now().Add(startLimit); err != nil && req.Command == "attach" && errors.Is(err, syscall.ECONNREFUSED) && c.now().Before(give); {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(startStep):
		}
		resp, err = c.client.Command(ctx, req)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	if c.json {
		if err := WriteJSON(c.out, resp); err != nil {
			return err
		}
		if resp.Nothing {
			return &cli.Exit{Code: 1}
		}
		return nil
	}
	if resp.Nothing {
		if len(resp.Lines) == 0 {
			return fmt.Errorf("nothing to %s", command)
		}
		return errors.New(strings.Join(resp.Lines, "\n"))
	}
	for _, line := range resp.Lines {
		fmt.Fprintln(c.out, line)
	}
	return nil
}

// status prints the cluster's state. Its form is fixed: scripts read it.
func (c *ctl) status(ctx context.Context) error {
	s, err := c.client.Status(ctx)
	if err != nil {
		return err
	}
	sortNodes(s.Attached)
	sortNodes(s.NotAttached)
	slices.SortFunc(s.Managers, func(a, b control.ManagerState) int { return CompareAddrs(a.Addr, b.Addr) })
	if s.Gateways == nil { // an older manager's
		s.Gateways = []control.GatewayStatus{}
	}
	if c.json {
		return WriteJSON(c.out, s)
	}
	writeStamp(c.out, s.Timestamp, s.Clock)
	fmt.Fprintln(c.out, "attached node:")
	for _, n := range s.Attached {
		fmt.Fprintf(c.out, "  %s  (%s)%s\n", n.Addr, n.State, c.details(n, true))
	}
	fmt.Fprintln(c.out, "not attached node:")
	for _, n := range s.NotAttached {
		fmt.Fprintf(c.out, "  %s%s\n", n.Addr, c.details(n, false))
	}
	if c.verbose {
		c.writeCluster(s)
	}
	return nil
}

// details is what --verbose adds to a server's line.
func (c *ctl) details(n control.NodeStatus, attached bool) string {
	if !c.verbose {
		return ""
	}
	var b strings.Builder
	if !attached {
		fmt.Fprintf(&b, "  (%s)", n.State)
	}
	fmt.Fprintf(&b, "  id=%s stream=%s incarnation=%d", n.ID, n.StreamAddr, n.Incarnation)
	if n.Zone != "" {
		fmt.Fprintf(&b, " zone=%s", cli.Quote(n.Zone))
	}
	if attached {
		fmt.Fprintf(&b, " replicas=%d primaries=%d copies_left=%d", n.Replicas, n.Primaries, n.CopiesLeft)
	}
	if n.Leaving != "" {
		b.WriteString(" " + n.Leaving)
	}
	if n.Damaged > 0 {
		fmt.Fprintf(&b, " damaged=%d", n.Damaged)
	}
	if n.Disk != "" {
		fmt.Fprintf(&b, " disk=%s", n.Disk)
	}
	if !n.Reachable {
		b.WriteString(" unreachable")
	}
	if n.Note != "" {
		fmt.Fprintf(&b, " note=%s", cli.Quote(n.Note))
	}
	return b.String()
}

// writeCluster is what --verbose adds at the end.
func (c *ctl) writeCluster(s *control.Status) {
	auto := "off"
	if s.AutoReplace {
		auto = "on"
	}
	fmt.Fprintf(c.out, "cluster:\n  %s  copies=%d auto-replace=%s\n", s.Cluster, s.Replication, auto)
	writeProgress(c.out, s)
	fmt.Fprintf(c.out, "partitions:\n  %d  unavailable=%d short=%d copies_to_make=%d\n", s.Partitions, s.Unavailable, s.Short, s.Moving)
	if len(s.Troubles) > 0 {
		fmt.Fprintln(c.out, "troubles:")
		for _, t := range s.Troubles {
			fmt.Fprintf(c.out, "  %s\n    %s\n", t.Text, t.Do)
		}
	}
	fmt.Fprintln(c.out, "managers:")
	for _, m := range s.Managers {
		leader := ""
		if m.Leader {
			leader = "  (leader)"
		}
		fmt.Fprintf(c.out, "  %s%s  id=%s%s\n", m.Addr, leader, m.ID, vote(m.Voter, m.Reachable))
	}
	fmt.Fprintln(c.out, "witnesses:")
	for _, w := range s.Witnesses {
		fmt.Fprintf(c.out, "  %s  id=%s%s\n", w.Addr, w.ID, vote(w.Voter, w.Reachable))
	}
	fmt.Fprintln(c.out, "gateways:")
	for _, g := range s.Gateways {
		kind := ""
		if g.Client {
			kind = "  (client)"
		}
		fmt.Fprintf(c.out, "  %s%s", g.Addr, kind)
		if g.HTTP != "" {
			fmt.Fprintf(c.out, "  http=%s", cli.Quote(g.HTTP))
		}
		fmt.Fprintf(c.out, "  version=%s since=%s\n", cli.Quote(g.Version), g.Connected.Local().Format("2006-01-02T15:04:05"))
	}
}

// vote is what --verbose says of a manager or witness that is not as it should be.
func vote(voter, reachable bool) string {
	s := ""
	if !voter {
		s = " without-vote"
	}
	if !reachable {
		s += " unreachable"
	}
	return s
}
