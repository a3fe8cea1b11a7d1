package top

import (
	"context"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/kumofs/kumofs/internal/control"
)

// model is the live table: what is on the board, and how it is looked at. It belongs to bubbletea's
// goroutine. Each daemon is asked by itself, so that none waits for another.
type model struct {
	ctx   context.Context
	asker *asker
	board *board
	// intervals are those of + and -, shortest first; interval is the present one.
	interval time.Duration
	beats    int // the present sequence of beats; those of another one are over
	asking   bool
	hotAsked map[string]bool // servers whose hot keys are awaited

	sortBy   *column[Row]
	reverse  bool
	filter   string
	typing   bool // the filter
	gateways bool
	hot      bool
	hotKeys  int
	help     bool
	paused   bool
	top      int // the first server shown
	now      time.Time

	width, height int
	colours       bool
	levels        []rune // of sparklines
	up, down      string // marks at the column that is sorted by
}

// intervals are those of + and -.
var intervals = []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute}

func newModel(ctx context.Context, a *asker, b *board, o *options, env func(string) string) *model {
	m := &model{ctx: ctx, asker: a, board: b, interval: o.interval, hotAsked: map[string]bool{}, sortBy: o.sortBy,
		gateways: o.gateways, hot: o.hotKeys > 0, hotKeys: o.hotKeys, now: time.Now(), colours: env("NO_COLOR") == ""}
	if m.hotKeys == 0 {
		m.hotKeys = hotKeysUsual
	}
	if m.levels, m.up, m.down = asciiLevels, "^", "v"; speaksUTF8(env) {
		m.levels, m.up, m.down = barLevels, "▲", "▼"
	}
	return m
}

// speaksUTF8 tells whether the terminal's character set is UTF-8.
func speaksUTF8(env func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if locale := strings.ToLower(env(name)); locale != "" {
			return strings.Contains(locale, "utf-8") || strings.Contains(locale, "utf8")
		}
	}
	return false
}

// beat is the time for the next look.
type beat struct{ sequence int }

// The answers.
type (
	statusAnswer struct {
		status *control.Status
		err    error
	}
	serverAnswer struct {
		addr string
		answer
	}
	gatewayAnswer struct {
		addr string
		answer
	}
	hotAnswer struct {
		addr string
		hot  *control.HotKeys
		err  error
	}
)

// Init begins to look.
func (m *model) Init() tea.Cmd {
	return tea.Batch(m.look(), m.next())
}

func (m *model) next() tea.Cmd {
	sequence := m.beats
	return tea.Tick(m.interval, func(time.Time) tea.Msg { return beat{sequence} })
}

// look asks everybody who is not being asked already.
func (m *model) look() tea.Cmd {
	var all []tea.Cmd
	if m.asker.managers != nil && !m.asking {
		m.asking = true
		all = append(all, func() tea.Msg {
			status, err := m.asker.status(m.ctx)
			return statusAnswer{status, err}
		})
	}
	return tea.Batch(append(all, m.askServers(), m.askGateways(), m.askHotKeys())...)
}

func (m *model) askServers() tea.Cmd {
	return ask(m.board.servers, m.board.serverAddrs(), func(addr string) tea.Msg {
		return serverAnswer{addr, m.asker.server(m.ctx, addr)}
	})
}

func (m *model) askGateways() tea.Cmd {
	if !m.gateways {
		return nil
	}
	return ask(m.board.gateways, m.board.gatewayAddrs(), func(addr string) tea.Msg {
		return gatewayAnswer{addr, m.asker.gateway(m.ctx, addr)}
	})
}

func (m *model) askHotKeys() tea.Cmd {
	if !m.hot {
		return nil
	}
	var all []tea.Cmd
	for _, addr := range m.board.serverAddrs() {
		if m.hotAsked[addr] {
			continue
		}
		m.hotAsked[addr] = true
		all = append(all, func() tea.Msg {
			hot, err := m.asker.hotKeys(m.ctx, addr, m.hotKeys)
			return hotAnswer{addr, hot, err}
		})
	}
	return tea.Batch(all...)
}

// ask asks those of addrs whose answer is not awaited.
func ask(all map[string]*daemon, addrs []string, one func(addr string) tea.Msg) tea.Cmd {
	var asks []tea.Cmd
	for _, addr := range addrs {
		if d := of(all, addr); !d.asked {
			d.asked = true
			asks = append(asks, func() tea.Msg { return one(addr) })
		}
	}
	return tea.Batch(asks...)
}

// Update takes in an answer, the time for the next look, a key or the window's size.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case beat:
		if msg.sequence != m.beats {
			return m, nil
		}
		if m.paused {
			return m, m.next()
		}
		m.now = time.Now()
		m.board.beat()
		return m, tea.Batch(m.look(), m.next())
	case statusAnswer:
		m.asking = false
		if m.paused {
			return m, nil
		}
		m.board.takeStatus(msg.status, msg.err)
		return m, tea.Batch(m.askNew()...)
	case serverAnswer:
		m.take(m.board.servers, msg.addr, msg.answer)
	case gatewayAnswer:
		m.take(m.board.gateways, msg.addr, msg.answer)
	case hotAnswer:
		m.hotAsked[msg.addr] = false
		if !m.paused {
			m.board.takeHotKeys(msg.addr, msg.hot, msg.err)
		}
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		return m, m.key(msg)
	}
	return m, nil
}

// take takes an answer in, of a daemon that is still one; while paused it is passed over.
func (m *model) take(all map[string]*daemon, addr string, a answer) {
	d := all[addr]
	if d == nil {
		return
	}
	d.asked = false
	if !m.paused {
		d.take(a)
	}
}

// askNew asks those of whom the managers have just told: the first time, everybody.
func (m *model) askNew() []tea.Cmd {
	fresh := func(all map[string]*daemon, addrs []string, one func(addr string) tea.Msg) tea.Cmd {
		return ask(all, slices.DeleteFunc(addrs, func(addr string) bool { return all[addr] != nil }), one)
	}
	cmds := []tea.Cmd{fresh(m.board.servers, m.board.serverAddrs(), func(addr string) tea.Msg {
		return serverAnswer{addr, m.asker.server(m.ctx, addr)}
	})}
	if m.gateways {
		cmds = append(cmds, fresh(m.board.gateways, m.board.gatewayAddrs(), func(addr string) tea.Msg {
			return gatewayAnswer{addr, m.asker.gateway(m.ctx, addr)}
		}))
	}
	return append(cmds, m.askHotKeys())
}

// key does what a key means.
func (m *model) key(press tea.KeyPressMsg) tea.Cmd {
	key := press.String()
	switch key {
	case "ctrl+c":
		return tea.Quit
	case "ctrl+z":
		return tea.Suspend
	}
	if m.typing {
		m.type_(key, press.Text)
		return nil
	}
	switch key {
	case "q", "Q":
		return tea.Quit
	case "esc":
		m.help, m.filter = false, ""
	case "?":
		m.help = !m.help
	case "s":
		m.nextSort()
	case "S":
		m.reverse = !m.reverse
	case "/":
		m.typing, m.help = true, false
	case "g":
		m.gateways = !m.gateways
		return m.askGateways()
	case "h":
		m.hot = !m.hot
		return m.askHotKeys()
	case "space", "p":
		m.paused = !m.paused
	case "+", "=":
		return m.pace(func(d time.Duration) bool { return d > m.interval }, false)
	case "-":
		return m.pace(func(d time.Duration) bool { return d < m.interval }, true)
	case "up", "k":
		m.top--
	case "down", "j":
		m.top++
	case "pgup":
		m.top -= m.page()
	case "pgdown":
		m.top += m.page()
	case "home":
		m.top = 0
	case "end":
		m.top = len(m.board.serverAddrs())
	}
	m.top = max(0, min(m.top, len(m.shownRows())-m.page()))
	return nil
}

// type_ is a key of the filter.
func (m *model) type_(key, text string) {
	switch key {
	case "enter":
		m.typing = false
	case "esc":
		m.typing, m.filter = false, ""
	case "backspace":
		if r := []rune(m.filter); len(r) > 0 {
			m.filter = string(r[:len(r)-1])
		}
	default:
		if len(m.filter)+len(text) <= 64 {
			m.filter += printable(text)
		}
	}
	m.top = 0
}

// nextSort goes on to the next column that is shown.
func (m *model) nextSort() {
	shown := m.shownColumns()
	i := slices.IndexFunc(shown, func(c *column[Row]) bool { return c.title == m.sortBy.title })
	for range shown {
		i = (i + 1) % len(shown)
		if shown[i].cell != nil {
			m.sortBy, m.reverse = shown[i], false
			return
		}
	}
}

// pace takes the nearest interval that is fit: of those in order the first, or the last.
func (m *model) pace(fit func(time.Duration) bool, last bool) tea.Cmd {
	var found time.Duration
	for _, d := range intervals {
		if fit(d) && (found == 0 || last) {
			found = d
		}
	}
	if found == 0 {
		return nil
	}
	m.interval = found
	m.beats++
	return m.next()
}
