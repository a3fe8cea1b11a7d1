package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/test/e2e/harness"
)

// terminal is a real one, of tmux, in which a command runs.
type terminal struct {
	t    *testing.T
	sock string
}

// newTerminal runs a line of sh in a terminal of that size.
func newTerminal(t *testing.T, width, height int, env []string, script string) *terminal {
	t.Helper()
	dir, err := os.MkdirTemp("", "kumotop-") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	x := &terminal{t, filepath.Join(dir, "tmux")}
	t.Cleanup(func() {
		_ = exec.Command("tmux", "-S", x.sock, "kill-server").Run() // it may have ended
		os.RemoveAll(dir)
	})
	cmd := exec.Command("tmux", "-S", x.sock, "-f", "/dev/null", "-u", "new-session", "-d", "-x", strconv.Itoa(width), "-y", strconv.Itoa(height), "sh", "-c", script)
	for _, v := range os.Environ() { // what would tell of another terminal, or decides on colours
		if name, _, _ := strings.Cut(v, "="); !slices.Contains([]string{"TMUX", "NO_COLOR", "LANG", "LC_ALL", "LC_CTYPE", "COLORTERM", "CLICOLOR_FORCE"}, name) {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tmux: %v: %s", err, out)
	}
	return x
}

func (x *terminal) tmux(args ...string) string {
	x.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-S", x.sock}, args...)...).CombinedOutput()
	if err != nil {
		x.t.Fatalf("tmux %v: %v: %s", args, err, out)
	}
	return string(out)
}

func (x *terminal) press(keys ...string) {
	x.t.Helper()
	x.tmux(append([]string{"send-keys"}, keys...)...)
}
func (x *terminal) screen() string { x.t.Helper(); return x.tmux("capture-pane", "-p") }
func (x *terminal) styled() string { x.t.Helper(); return x.tmux("capture-pane", "-p", "-e") }
func (x *terminal) resize(width, height int) {
	x.t.Helper()
	x.tmux("resize-window", "-x", strconv.Itoa(width), "-y", strconv.Itoa(height))
}

// shows waits until each pattern matches the screen, `^` and `$` being those of its lines.
func (x *terminal) shows(patterns ...string) string {
	x.t.Helper()
	var screen string
	harness.Until(x.t, 10*time.Second, "the terminal", func() error {
		screen = x.screen()
		for _, p := range patterns {
			if !regexp.MustCompile("(?m)" + p).MatchString(screen) {
				return fmt.Errorf("%q is not on the screen:\n%s", p, screen)
			}
		}
		return nil
	})
	return screen
}

// hammer asks a gateway for a hot key, and as often for one of many others; in 10 of 26 commands it stores. It ends
// with the test.
func hammer(t *testing.T, addr, hot string) {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { nc.Close(); wg.Wait() })
	wg.Go(func() {
		r := bufio.NewReader(nc)
		for i := 0; ; i++ {
			var b strings.Builder
			for n := range 8 {
				fmt.Fprintf(&b, "get %s\r\nget other%d\r\n", hot, (8*i+n)%5000)
			}
			for n := range 10 {
				fmt.Fprintf(&b, "set other%d 0 0 1\r\nx\r\n", (10*i+n)%5000)
			}
			if _, err := nc.Write([]byte(b.String())); err != nil {
				return
			}
			for left := 26; left > 0; {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				switch {
				case line == "END\r\n", line == "STORED\r\n", strings.HasPrefix(line, "SERVER_ERROR"):
					left--
				}
			}
			time.Sleep(2 * time.Millisecond) // some thousand operations a second are enough
		}
	})
}

// rows are the first words of the lines that begin with a server's address.
func rows(screen string, servers []*harness.Process) (order []string) {
	for line := range strings.SplitSeq(screen, "\n") {
		if f := strings.Fields(line); len(f) > 0 && slices.ContainsFunc(servers, func(p *harness.Process) bool { return p.Addr == f[0] }) {
			order = append(order, f[0])
		}
	}
	return order
}

// Kumotop in a real terminal, and what it shows by the other tools.
func TestKumotop(t *testing.T) {
	t.Parallel()
	c := harness.New(t, func() harness.Options { o := options(3); o.Gateways = 2; return o }())
	monitor := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	c.Gateways[0].AddArgs("--http", monitor)
	c.StartAll()
	c.WaitNotAttached(3)
	c.Ctl("attach", "--wait")
	c.WaitReady(30 * time.Second)
	const hot = "hot-\xff"
	set(t, c.Gateway.Addr, hot, "v")
	hammer(t, c.Gateway.Addr, hot)
	m := c.Map()
	primary := m.Server(m.Partitions[m.PartitionOf([]byte(hot))].Primary()).Addr
	with := func(argv ...string) []string {
		argv[0] = tool(t, argv[0])
		if *file != "" {
			argv = append(argv, "--cluster-secret-file", *file)
		}
		return argv
	}
	out := func(argv ...string) string {
		t.Helper()
		code, stdout, stderr := run(t, 20*time.Second, "", with(argv...)...)
		if code != 0 {
			t.Errorf("%v: status %d, %s", argv, code, stderr)
		}
		return stdout
	}

	if plain := c.Ctl("status"); strings.Contains(plain, "gateway") {
		t.Errorf("status without --verbose tells of gateways:\n%s", plain)
	}
	if s := c.Ctl("status", "--verbose"); !regexp.MustCompile(`(?m)^gateways:\n  127.0.0.1:\d+ .*\n  127.0.0.1:\d+ .*\n\z`).MatchString(s) || strings.Count(s, "  http="+monitor+"  version=") != 1 {
		t.Errorf("status --verbose:\n%s", s)
	}
	harness.Until(t, 10*time.Second, "the hot key is found", func() error {
		for line := range strings.SplitSeq(out("kumostat", "-m", c.Manager.Addr, "hotkeys", "5"), "\n") {
			if strings.HasPrefix(line, primary+":  read ") && strings.HasSuffix(line, `"hot-\xff"`) {
				return nil
			}
		}
		return errors.New("not by kumostat hotkeys")
	})
	t.Run("once", func(t *testing.T) {
		lines := strings.Split(out("kumotop", "-m", c.Manager.Addr, "--once", "--sort", "#Get", "--gateways", "--hot-keys", "3"), "\n")
		if len(lines) < 11 || strings.Join(strings.Fields(lines[0]), " ") != "address #Get #Set #Del Get/s Set/s Del/s QPS items time clock status" ||
			!strings.HasPrefix(lines[1], primary+" ") || len(rows(strings.Join(lines, "\n"), c.Servers)) != 3 ||
			!regexp.MustCompile(`(?m)^`+monitor+` .* up `).MatchString(strings.Join(lines, "\n")) || !strings.HasSuffix(lines[10], `"hot-\xff"`) {
			t.Errorf("%s", strings.Join(lines, "\n"))
		}
		var sample struct {
			Servers  []struct{ QPS *float64 }
			Gateways []struct {
				HTTP   string
				Status string
				QPS    *float64
			}
			HotKeys []control.HotKey `json:"hot_keys"`
		}
		if err := json.Unmarshal([]byte(out("kumotop", "-m", c.Manager.Addr, "--json")), &sample); err != nil {
			t.Fatal(err)
		}
		up := slices.IndexFunc(sample.Gateways, func(g struct {
			HTTP   string
			Status string
			QPS    *float64
		}) bool {
			return g.HTTP == monitor
		})
		if len(sample.Servers) != 3 || sample.Servers[0].QPS == nil || len(sample.Gateways) != 2 || up < 0 || sample.Gateways[up].Status != "up" || *sample.Gateways[up].QPS <= 0 ||
			len(sample.HotKeys) == 0 || string(sample.HotKeys[0].Bytes) != hot {
			t.Errorf("%+v", sample)
		}
	})
	t.Run("live", func(t *testing.T) { live(t, c, monitor, primary, with) })
}

func live(t *testing.T, c *harness.Cluster, monitor, primary string, with func(...string) []string) {
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skipf("%s: not run: tmux is not installed (scripts/deps installs it)", t.Name())
	}
	// It ends by itself should the test be killed. What the terminal is like afterwards stty tells.
	script := func(argv ...string) string {
		for i := range argv {
			argv[i] = "'" + argv[i] + "'"
		}
		return "echo before; timeout --foreground 300 " + strings.Join(argv, " ") + `; echo "left with $?"; stty -a | tr ' ' '\n' | grep -x -e '-*icanon;*' -e '-*echo;*'; exec sleep 60`
	}
	x := newTerminal(t, 210, 40, []string{"LANG=C.UTF-8"}, script(with("kumotop", "-m", c.Manager.Addr)...))
	x.shows(`^address▲ +#Get +#Set +#Del +Get/s +Set/s +Del/s +QPS +items +time +clock +status +QPS-trend +GetP50 +GetP99 +SetP50 +SetP99 +copies +uptime$`,
		`^`+c.Servers[0].Addr+`( +[1-9]\d*){2} +0 +[1-9]\d* .* \d{4}-\d\d-\d\d \d\d:\d\d:\d\d +\d+ +ready +[▁▂▃▄▅▆▇█]{3}`, `^total .* 3/3 `, `servers 3/3 active`)
	if !regexp.MustCompile(`[\[;]7m(\x1b\[[0-9;]*m)*address`).MatchString(x.styled()) {
		t.Errorf("the header is not reversed: %q", x.styled())
	}
	first := func(screen string) string {
		if order := rows(screen, c.Servers); len(order) == 3 {
			return order[0]
		}
		return "?"
	}
	x.press("s")
	if s := x.shows(`^address +#Get▼`); first(s) != primary {
		t.Errorf("by #Get %s is not first:\n%s", primary, s)
	}
	x.press("S")
	if s := x.shows(`^address +#Get▲`); first(s) == primary {
		t.Errorf("by #Get the other way round %s is first:\n%s", primary, s)
	}
	x.press("h")
	x.shows(`^hot keys`, `^ +reads/s +writes/s +part +server +key$`, `^ +[1-9]\d* +0 +\d+ +`+primary+` +"hot-\\xff"$`)
	x.press("g")
	x.shows(`^gateways$`, `^`+monitor+`( +[1-9]\d*){2} +0( +[1-9]\d*){2} .* up +.*[▁▂▃▄▅▆▇█]`, `^127\.0\.0\.1:\d+ .* no-http `, `^gateway +#Get +#Set +#Del .*QPS-trend +GetP50`)
	x.press("?")
	x.shows(`^ctrl.z +suspend`)
	x.press("?", "/")
	x.press(primary[len(primary)-5:])
	x.press("Enter")
	x.shows(`filter "` + primary[len(primary)-5:] + `"`)
	if got := rows(strings.Split(x.screen(), "gateways\n")[0], c.Servers); !slices.Contains(got, primary) || len(got) != 1 {
		t.Errorf("the filter leaves %v", got)
	}
	x.press("Escape")
	x.shows(`^`+c.Servers[0].Addr, `^`+c.Servers[1].Addr, `^`+c.Servers[2].Addr) // a key right after it would be taken for Alt and that key
	x.press("g", "h")
	x.resize(60, 10)
	s := x.shows(`^address .*QPS +status`, `^total .* 3/3`)
	for line := range strings.SplitSeq(s, "\n") {
		if len([]rune(line)) > 60 || strings.Contains(line, "SetP99") {
			t.Errorf("of 60 columns: %q", line)
		}
	}
	x.resize(130, 30)
	x.shows(`^address +.*Get/s +Set/s +Del/s +QPS .*status .*QPS-trend`)

	// One that is silent holds up nobody.
	quiet := c.Servers[0]
	if quiet.Addr == primary {
		quiet = c.Servers[1]
	}
	quiet.Stop()
	x.shows(`^`+quiet.Addr+` .* (no-answer|fault) `, `^`+primary+` .* [1-9]\d* .* (ready|WAIT) `) // WAIT: they lack its copies
	if styled := x.styled(); !regexp.MustCompile(`31m(\x1b\[[0-9;]*m)*` + regexp.QuoteMeta(quiet.Addr)).MatchString(styled) {
		t.Errorf("it is not red: %q", styled)
	}
	quiet.Cont()

	x.press("q")
	if s := x.shows(`^left with 0$`, `^before$`, `^icanon$`, `^echo$`); strings.Contains(s, "total") {
		t.Errorf("the table is still there:\n%s", s)
	}

	// Without colours, and in a terminal that has not got these characters.
	y := newTerminal(t, 130, 20, []string{"LANG=C", "NO_COLOR=yes"}, script(with("kumotop", primary, quiet.Addr, "-i", "0.3")...))
	y.shows(`^address\^ `, `^`+primary+` .* (ready|WAIT|Copying) +.*[_.:=+*#-]{2}`)
	if styled := y.styled(); regexp.MustCompile(`\x1b\[[0-9;]*3[0-7]m`).MatchString(styled) || strings.ContainsAny(styled, "▁▂▃▄▅▆▇█") {
		t.Errorf("colours or bars: %q", styled)
	}
	y.press("C-c")
	y.shows(`^left with 0$`, `^before$`, `^icanon$`, `^echo$`)
}
