package top

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/kumofs/kumofs/internal/control"
)

// screen is a model, and keys and answers given to it as bubbletea does.
type screen struct {
	t *testing.T
	*model
}

func newScreen(t *testing.T, addrs []string, managed bool, env map[string]string) *screen {
	o := &options{interval: time.Second, sortBy: sortColumn("address")}
	getenv := func(name string) string { return env[name] }
	s := &screen{t, newModel(t.Context(), newAsker(addrs, managed, nil), newBoard(addrs, managed), o, getenv)}
	s.send(tea.WindowSizeMsg{Width: 120, Height: 30})
	return s
}

func (s *screen) send(msg tea.Msg) tea.Cmd {
	_, cmd := s.Update(msg)
	return cmd
}

// press presses keys: a rune each, or one by name.
func (s *screen) press(keys ...string) (last tea.Cmd) {
	named := map[string]tea.Key{"esc": {Code: tea.KeyEscape}, "enter": {Code: tea.KeyEnter}, "backspace": {Code: tea.KeyBackspace}, "space": {Code: ' ', Text: " "},
		"down": {Code: tea.KeyDown}, "up": {Code: tea.KeyUp}, "end": {Code: tea.KeyEnd}, "home": {Code: tea.KeyHome}, "pgup": {Code: tea.KeyPgUp}, "pgdown": {Code: tea.KeyPgDown},
		"ctrl+c": {Code: 'c', Mod: tea.ModCtrl}, "ctrl+z": {Code: 'z', Mod: tea.ModCtrl}}
	for _, k := range keys {
		key, is := named[k]
		if !is {
			key = tea.Key{Code: []rune(k)[0], Text: k}
		}
		last = s.send(tea.KeyPressMsg(key))
	}
	return last
}

// lines are the screen's, without styles, and no wider nor more than it.
func (s *screen) lines() []string {
	s.t.Helper()
	v := s.View()
	if !v.AltScreen {
		s.t.Error("not the whole screen")
	}
	lines := strings.Split(v.Content, "\n")
	if len(lines) != s.height {
		s.t.Errorf("%d lines of %d:\n%s", len(lines), s.height, v.Content)
	}
	for i := range lines {
		lines[i] = ansi.Strip(lines[i])
		if ansi.StringWidth(lines[i]) > s.width {
			s.t.Errorf("too wide: %q", lines[i])
		}
	}
	return lines
}

// has fails unless a line matches; it returns which.
func (s *screen) has(pattern string) int {
	s.t.Helper()
	lines := s.lines()
	for i, line := range lines {
		if regexp.MustCompile(pattern).MatchString(line) {
			return i
		}
	}
	s.t.Errorf("no line matches %q in\n%s", pattern, strings.Join(lines, "\n"))
	return -1
}

func (s *screen) hasNot(pattern string) {
	s.t.Helper()
	for _, line := range s.lines() {
		if regexp.MustCompile(pattern).MatchString(line) {
			s.t.Errorf("%q matches %q", line, pattern)
		}
	}
}

// servers puts so many on the board, the i-th with a QPS of 10*i.
func (s *screen) servers(n int) {
	st := &control.Status{Clock: 72}
	for i := range n {
		st.Attached = append(st.Attached, control.NodeStatus{Addr: fmt.Sprintf("10.0.0.%d:19800", i+1), State: "active"})
	}
	s.send(statusAnswer{status: st})
	at := time.Now()
	for look := range int64(2) {
		for i := range n {
			v := values(look*int64(10*(i+1)), 0, 0)
			v["replstat"] = "ready"
			s.send(serverAnswer{fmt.Sprintf("10.0.0.%d:19800", i+1), answer{at: at.Add(time.Duration(look) * time.Second), values: v}})
		}
	}
}

func TestLive(t *testing.T) {
	// Through the network, as bubbletea would.
	addr := newServer(t)
	manager := newManager(t, &control.Status{Attached: []control.NodeStatus{{Addr: addr, State: "active", CopiesLeft: 3}}})
	s := newScreen(t, []string{manager}, true, nil)
	s.has("asking the managers")
	run(s, s.look())
	s.has("clock 0  servers 1/1 active")
	s.has(addr + ".* Copying ")
	run(s, s.look())
	line := s.has(addr + ` .*[1-9]\d* +0 +[1-9]\d* .*Copying`)
	if s.lines()[line-1][:7] != "address" || !strings.HasPrefix(s.lines()[line+1], "total") {
		t.Error(s.lines())
	}
	run(s, s.press("h"))
	s.has(`^ +100 +3 +7 +` + addr + ` +"hot\\x1b\[2J"$`)
	run(s, s.press("g"))
	s.has("no gateway has told")
	s.press("g", "h")
	s.hasNot("no gateway|hot.x1b")
}

// run runs commands and takes in what they bring, but no time.
func run(s *screen, cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	switch msg := cmd().(type) {
	case tea.BatchMsg:
		for _, c := range msg {
			run(s, c)
		}
	case beat:
	default:
		run(s, s.send(msg))
	}
}

func TestSortKeys(t *testing.T) {
	s := newScreen(t, []string{"m"}, true, map[string]string{"LANG": "C.UTF-8"})
	s.servers(3)
	s.has("^address▲ ")
	order := func(want string) {
		t.Helper()
		got := ""
		for _, line := range s.lines() {
			if strings.HasPrefix(line, "10.0.0.") {
				got += line[7:8]
			}
		}
		if got != want {
			t.Errorf("%s, want %s:\n%s", got, want, strings.Join(s.lines(), "\n"))
		}
	}
	order("123")
	s.press("S")
	order("321")
	s.has("^address▼ ")
	s.press("s") // of 120 columns the counters have gone
	s.has("Get/s▼")
	order("321")
	s.press("S")
	s.has("Get/s▲")
	order("123")
	seen := map[string]bool{}
	for range 20 {
		s.press("s")
		seen[s.sortBy.title] = true
	}
	// That by which they are sorted is shown, however narrow the window is.
	s.sortBy = sortColumn("time")
	s.send(tea.WindowSizeMsg{Width: 45, Height: 10})
	s.has(`^address .*time`)
	if !seen["QPS"] || !seen["address"] || !seen["status"] || seen["QPS-trend"] || seen["#Get"] {
		t.Error(seen)
	}
}

func TestFilter(t *testing.T) {
	s := newScreen(t, []string{"m"}, true, nil)
	s.servers(12)
	s.press("/", "0", ".", "1", "q", "2", "backspace", "backspace")
	s.has(`^filter: 0\.1_$`)
	s.hasNot(`^10\.0\.0\.2:`)
	for _, n := range []string{"1", "10", "11", "12"} {
		s.has(`^10\.0\.0\.` + n + `:`)
	}
	s.has("^total.* 4/4")
	s.press("enter")
	s.has(`filter "0.1"`)
	s.has("^q quit")
	s.press("/", "x", "enter")
	s.has(`no server's address or status has "0.1x"`)
	s.press("esc")
	s.has(`^10\.0\.0\.2:`)
	s.press("/", "R", "E", "A", "esc")
	s.has("^q quit")
	s.hasNot("filter:")
}

func TestScroll(t *testing.T) {
	s := newScreen(t, []string{"m"}, true, nil)
	s.servers(50)
	s.send(tea.WindowSizeMsg{Width: 100, Height: 15})
	s.has(`^total \(1-10 of 50\)`)
	s.press("down", "down", "up", "pgdown")
	s.has(`\(12-21 of 50\)`)
	s.press("end")
	s.has(`\(41-50 of 50\)`)
	s.has(`^10\.0\.0\.50:`)
	s.press("down", "pgup", "pgup")
	s.has(`\(21-30 of 50\)`)
	s.press("home", "up")
	s.has(`\(1-10 of 50\)`)
	s.press("end", "/", "9", ":", "enter")
	s.has(`^10\.0\.0\.9:`)
	s.has("^total .* 5/5")
}

func TestPanes(t *testing.T) {
	s := newScreen(t, []string{"m"}, true, nil)
	s.servers(30)
	st := s.board.status
	for i := range 20 {
		st.Gateways = append(st.Gateways, control.GatewayStatus{Addr: fmt.Sprintf("10.0.1.%d:5000", i), HTTP: fmt.Sprintf("10.0.1.%d:8080", i)})
	}
	s.press("g")
	s.send(gatewayAnswer{"10.0.1.0:8080", answer{at: time.Now(), err: errors.New("refused")}})
	s.has(`^gateways  \(\d+ more\)`)
	s.has(`^10\.0\.1\.0:8080 .* no-answer`)
	s.has(`^10\.0\.1\.1:8080 .* asking`)
	s.has(`^total \(1-\d+ of 30\)`)
	s.press("h")
	s.send(hotAnswer{addr: "10.0.0.1:19800", hot: &control.HotKeys{Reads: []control.HotKey{{Bytes: []byte("kumo"), PerSecond: 7}}}})
	s.has(`"kumo"$`)
	s.has("^hot keys")
	s.has(`^gateways  \(\d+ more\)`)
	s.send(hotAnswer{addr: "10.0.0.1:19800", err: errors.New("refused")})
	s.has("no key is asked for much more often")
	// However small the window is, nothing is drawn beyond it.
	for height := 1; height < 40; height++ {
		for _, width := range []int{1, 10, 40, 300} {
			s.send(tea.WindowSizeMsg{Width: width, Height: height})
			s.lines()
		}
	}
}

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		height      int
		needs, want [3]int
	}{
		{20, [3]int{5, 0, 0}, [3]int{5, 0, 0}},
		{20, [3]int{50, 0, 0}, [3]int{20, 0, 0}},
		{20, [3]int{50, 6, 0}, [3]int{14, 6, 0}},
		{20, [3]int{50, 60, 0}, [3]int{10, 10, 0}},
		{20, [3]int{5, 60, 70}, [3]int{5, 7, 8}},
		{2, [3]int{5, 6, 7}, [3]int{0, 1, 1}},
		{-3, [3]int{5, 6, 7}, [3]int{0, 0, 0}},
	} {
		if got := split(c.height, c.needs); got != c.want {
			t.Errorf("%d %v: %v, want %v", c.height, c.needs, got, c.want)
		}
	}
}

func TestPause(t *testing.T) {
	s := newScreen(t, []string{"m"}, true, nil)
	s.servers(1)
	s.press("space")
	s.has("PAUSED")
	s.send(serverAnswer{"10.0.0.1:19800", answer{err: errors.New("refused")}})
	s.has("10.0.0.1:19800 .* ready")
	before := len(s.board.servers["10.0.0.1:19800"].trend)
	s.send(beat{s.beats})
	if len(s.board.servers["10.0.0.1:19800"].trend) != before {
		t.Error("the sparkline goes on")
	}
	s.press("p")
	s.hasNot("PAUSED")
	s.send(serverAnswer{"10.0.0.1:19800", answer{err: errors.New("refused")}})
	s.has("10.0.0.1:19800 .* no-answer")
	s.send(serverAnswer{"10.9.9.9:1", answer{err: errors.New("refused")}}) // one that was detached meanwhile
	if len(s.board.servers) != 1 {
		t.Error(s.board.servers)
	}
}

// A server that does not answer is asked once, and holds up nobody.
func TestSlowServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	slow, quick := l.Addr().String(), newServer(t)
	s := newScreen(t, []string{slow, quick}, false, nil)
	for range 2 {
		cmd := s.look()
		if cmd == nil {
			t.Fatal("nobody is asked")
		}
		var asks []tea.Cmd
		switch msg := cmd().(type) {
		case tea.BatchMsg:
			asks = msg
		case serverAnswer: // of the quick one alone
			s.send(msg)
			continue
		}
		if len(asks) != 2 {
			t.Fatalf("%d are asked", len(asks))
		}
		s.send(asks[1]())
	}
	s.has(slow + ".* asking")
	s.has(quick + ".* [1-9][0-9]* .*Copying")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.send(serverAnswer{slow, s.asker.server(ctx, slow)})
	s.has(slow + ".* no-answer")
	if s.look() == nil {
		t.Error("it is not asked again")
	}
}

func TestPace(t *testing.T) {
	s := newScreen(t, []string{"m"}, true, nil)
	for _, c := range []struct{ key, want string }{{"+", "2s"}, {"=", "5s"}, {"-", "2s"}, {"-", "1s"}, {"-", "500ms"}, {"-", "250ms"}} {
		if s.press(c.key) == nil {
			t.Error("no further look")
		}
		s.has("every " + c.want + "( |$)")
	}
	if s.press("-") != nil {
		t.Error("faster still")
	}
	// Of the old sequence of beats nothing goes on.
	if s.send(beat{s.beats - 1}) != nil || s.send(beat{s.beats}) == nil {
		t.Error("not one sequence of beats")
	}
}

func TestKeys(t *testing.T) {
	s := newScreen(t, []string{"m"}, true, nil)
	s.servers(1)
	s.press("?")
	s.has("ctrl.z +suspend")
	s.hasNot("^10.0.0.1")
	s.press("esc")
	s.has("^10.0.0.1")
	for _, key := range []string{"q", "Q", "ctrl+c"} {
		if quit := s.press(key); quit == nil || quit() != tea.Quit() {
			t.Errorf("%s does not quit", key)
		}
	}
	s.press("/")
	if quit := s.press("ctrl+c"); quit == nil || quit() != tea.Quit() {
		t.Error("no way out of the filter")
	}
	if stop := s.press("ctrl+z"); stop == nil || stop() != tea.Suspend() {
		t.Error("ctrl+z does not suspend")
	}
}

func TestColours(t *testing.T) {
	colour := regexp.MustCompile(`\x1b\[[0-9;]*3[0-7]`)
	for env, want := range map[string]bool{"": true, "1": false, "yes": false} {
		s := newScreen(t, []string{"m"}, true, map[string]string{"NO_COLOR": env})
		s.servers(2)
		s.send(serverAnswer{"10.0.0.1:19800", answer{err: errors.New("refused")}})
		if got := colour.MatchString(s.View().Content); got != want {
			t.Errorf("NO_COLOR=%q: colours %v", env, got)
		}
	}
}

func TestCharacters(t *testing.T) {
	for env, want := range map[string]bool{"": false, "LANG=C": false, "LANG=ja_JP.UTF-8": true, "LC_CTYPE=C.utf8 LANG=C": true, "LC_ALL=C LANG=C.UTF-8": false} {
		getenv := func(name string) string {
			for _, v := range strings.Fields(env) {
				if k, v, _ := strings.Cut(v, "="); k == name {
					return v
				}
			}
			return ""
		}
		if got := speaksUTF8(getenv); got != want {
			t.Errorf("%s: %v", env, got)
		}
	}
	// What others say cannot command the terminal.
	s := newScreen(t, []string{"m"}, true, nil)
	s.servers(1)
	v := values(1, 1, 1)
	v["replstat"] = "\x1b[2Jready"
	s.send(serverAnswer{"10.0.0.1:19800", answer{at: time.Now(), values: v}})
	s.send(statusAnswer{err: errors.New("no \x1b]0;leader\a")})
	if c := s.View().Content; strings.Contains(c, "\x1b[2J") || strings.Contains(c, "\x1b]") || strings.Contains(c, "\a") {
		t.Errorf("%q", c)
	}
}
