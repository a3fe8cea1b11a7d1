package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
)

// Hosts are network namespaces on one bridge, each with a name, as machines on
// one switch. The process itself stays in its own namespace, which is on the
// switch too.
type Hosts struct {
	prefix string
	net    string // the first three bytes of every address
	names  []string
}

func command(argv ...string) error {
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, out)
	}
	return nil
}

// made counts them: tests run side by side.
var made atomic.Int32

// NewHosts makes them; t's end removes them. The error says why this machine
// cannot have any.
func NewHosts(t TB, names ...string) (*Hosts, error) {
	t.Helper()
	if os.Getuid() != 0 {
		return nil, fmt.Errorf("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return nil, fmt.Errorf("there is no ip(8)")
	}
	count := int(made.Add(1))
	h := &Hosts{prefix: fmt.Sprintf("kumo%d%c", os.Getpid()%10000, 'a'+count%26), names: names,
		// A network of its own: with two runs on one, each would reach the other's cluster.
		net: fmt.Sprintf("10.%d.%d", 100+(os.Getpid()/250+37*count)%100, os.Getpid()%250)}
	if err := command("ip", "netns", "add", h.ns("probe")); err != nil {
		return nil, fmt.Errorf("no network namespaces here: %w", err)
	}
	_ = command("ip", "netns", "del", h.ns("probe"))
	t.Cleanup(func() { h.remove(t) })
	must := func(line string) {
		t.Helper()
		if err := command(strings.Fields(line)...); err != nil {
			t.Fatal(err)
		}
	}
	must("ip link add " + h.prefix + "br type bridge")
	must("ip addr add " + h.net + ".254/24 dev " + h.prefix + "br")
	must("ip link set " + h.prefix + "br up")
	var table strings.Builder
	table.WriteString("127.0.0.1 localhost\n")
	for i, name := range names {
		fmt.Fprintf(&table, "%s %s\n", h.Addr(i), name)
	}
	for i, name := range names {
		ns := h.ns(name)
		must("ip netns add " + ns)
		must(fmt.Sprintf("ip link add %sv%d type veth peer name eth0 netns %s", h.prefix, i, ns))
		must(fmt.Sprintf("ip link set %sv%d master %sbr up", h.prefix, i, h.prefix))
		must(fmt.Sprintf("ip -n %s addr add %s/24 dev eth0", ns, h.Addr(i)))
		must("ip -n " + ns + " link set eth0 up")
		must("ip -n " + ns + " link set lo up")
		// `ip netns exec` puts these in the place of /etc's.
		dir := "/etc/netns/" + ns
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for file, text := range map[string]string{"hosts": table.String(), "resolv.conf": "", "nsswitch.conf": "hosts: files\n"} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return h, nil
}

func (h *Hosts) ns(name string) string { return h.prefix + name }

func (h *Hosts) remove(t TB) {
	for _, name := range h.names {
		_ = command("ip", "netns", "del", h.ns(name)) // not made yet
		_ = os.RemoveAll("/etc/netns/" + h.ns(name))
	}
	_ = command("ip", "link", "del", h.prefix+"br")
	_ = os.Remove("/etc/netns") // if it is empty
	if out, err := exec.Command("ip", "netns", "list").Output(); err == nil && strings.Contains(string(out), h.prefix) {
		t.Errorf("namespaces are left: %s", out)
	}
}

// Addr is the address of host i; they count from 0.
func (h *Hosts) Addr(i int) string { return fmt.Sprintf("%s.%d", h.net, i+1) }

// Index is the number of a host.
func (h *Hosts) Index(name string) int { return slices.Index(h.names, name) }

// On is a command line that runs on a host.
func (h *Hosts) On(name string, argv ...string) []string {
	return append([]string{"ip", "netns", "exec", h.ns(name)}, argv...)
}

// Link cuts a host's cable ("down") or puts it back ("up").
func (h *Hosts) Link(i int, state string) error {
	return command("ip", "link", "set", fmt.Sprintf("%sv%d", h.prefix, i), state)
}

// Deaf makes what a host sends to others vanish, or undoes it: packets to
// them go to a hardware address that nobody has.
func (h *Hosts) Deaf(from string, to []int, on bool) error {
	var batch strings.Builder
	for _, i := range to {
		// Before it is taken away too: another cut of the same way may have ended, and with it the entry.
		fmt.Fprintf(&batch, "neigh replace %s lladdr 02:de:ad:00:00:01 nud permanent dev eth0\n", h.Addr(i))
		if !on {
			fmt.Fprintf(&batch, "neigh del %s dev eth0\n", h.Addr(i))
		}
	}
	cmd := exec.Command("ip", "-n", h.ns(from), "-batch", "-")
	cmd.Stdin = strings.NewReader(batch.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cutting what %s sends: %w: %s", from, err, out)
	}
	return nil
}

// Lossy makes a host lose a share of the packets that come to it, in percent; 0
// undoes it. It needs nft(8).
func (h *Hosts) Lossy(name string, percent int) error {
	rules := "flush ruleset"
	if percent > 0 {
		rules += fmt.Sprintf("\ntable inet kumofs { chain in { type filter hook input priority 0; iifname eth0 numgen random mod 100 < %d drop; }; }", percent)
	}
	return command(h.On(name, "nft", rules)...)
}

// Slow bounds what a host sends to a rate that keeps packets waiting (tc(8)'s
// "1mbit"); "" undoes it.
func (h *Hosts) Slow(name, rate string) error {
	if rate == "" {
		return command("tc", "-n", h.ns(name), "qdisc", "del", "dev", "eth0", "root")
	}
	return command("tc", "-n", h.ns(name), "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", rate, "burst", "16kb", "latency", "300ms")
}
