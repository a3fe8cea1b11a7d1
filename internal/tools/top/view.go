package top

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
)

const keysLine = "q quit  ? help  s/S sort  / filter  g gateways  h hot keys  space pause  +/- interval"

const helpText = `s              sort by the next column        S              the other way round
/              filter by address or status    esc            no filter, no help
g              gateways                       h              hot keys
space          pause, go on                   + -            look less, more often
up down pgup pgdown home end                  move among the servers
ctrl+z         suspend                        q ctrl+c       quit

#Get #Set #Del     operations since the server's start; Get/s Set/s Del/s  now;  QPS  their sum
items              pairs stored there, copies and all
time, clock        its clock, and the version of its map
status             ready, WAIT (copies missing), Copying, Deleting, inactive; fault; no-answer
GetP50 GetP99 ...  latencies;  copies  those still to be made there
Hot keys are found by samples, of about the last minute.
Columns for which there is no room are left out.`

// The styles: SGR parameters.
const (
	styleHeader = "7"
	styleTotal  = "1"
	styleBad    = "31;1"
	styleBusy   = "33"
	stylePane   = "1;4"
)

// styled gives a line a style. Without colours only what is no colour is left of it.
func (m *model) styled(style, line string) string {
	if !m.colours {
		switch style {
		case styleBad:
			style = "1"
		case styleBusy:
			return line
		}
	}
	return "\x1b[" + style + "m" + line + "\x1b[0m"
}

// View draws the table on the whole screen.
func (m *model) View() tea.View {
	width, height := m.width, m.height
	if width <= 0 || height <= 0 {
		width, height = 80, 24 // until the terminal has told
	}
	lines := []string{m.styled(styleTotal, ansi.Truncate(m.headline(), width, "")), ""}
	if m.help {
		lines = append(lines, strings.Split(helpText, "\n")...)
	} else {
		lines = append(lines, m.body(width, height-3)...)
	}
	for len(lines) < height-1 {
		lines = append(lines, "")
	}
	lines = append(lines[:max(0, height-1)], m.footer())
	for i := range lines {
		lines[i] = ansi.Truncate(lines[i], width, "")
	}
	v := tea.NewView(strings.Join(lines, "\n"))
	v.AltScreen = true
	v.WindowTitle = "kumotop"
	return v
}

func (m *model) footer() string {
	if m.typing {
		return "filter: " + m.filter + "_"
	}
	return keysLine
}

// headline is the first line.
func (m *model) headline() string {
	b := m.board
	line := "kumofs  " + m.now.Format(time.TimeOnly) + "  every " + m.interval.String()
	if m.paused {
		line += "  PAUSED"
	}
	if m.filter != "" {
		line += fmt.Sprintf("  filter %q", m.filter)
	}
	if b.statusErr != nil {
		line += "  " + printable(b.statusErr.Error())
	}
	if st := b.status; st != nil {
		active := 0
		for _, n := range st.Attached {
			if n.State == "active" {
				active++
			}
		}
		if st.Unavailable > 0 {
			line += fmt.Sprintf("  PARTITIONS UNAVAILABLE %d", st.Unavailable)
		}
		line += fmt.Sprintf("  clock %d  servers %d/%d active  not attached %d  gateways %d  copies to make %d",
			st.Clock, active, len(st.Attached), len(st.NotAttached), len(st.Gateways), st.Moving)
	}
	return line
}

// printable is text of others without what a terminal might take for a command.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}

// shownRows are the servers that the filter leaves, sorted.
func (m *model) shownRows() []Row {
	rows := m.board.rows()
	if m.filter != "" {
		want := strings.ToLower(m.filter)
		rows = slices.DeleteFunc(rows, func(r Row) bool {
			return !strings.Contains(strings.ToLower(r.Addr+" "+r.Status+" "+r.State), want)
		})
	}
	sortRows(rows, m.sortBy, m.reverse)
	return rows
}

// serverTable is the servers' table for a window.
func (m *model) serverTable(width int) *table[Row] {
	mark := m.down
	if m.reverse != (m.sortBy.number == nil) {
		mark = m.up
	}
	return &table[Row]{columns: serverColumns, levels: m.levels, window: width, marked: m.sortBy.title, mark: mark}
}

// shownColumns are the columns for which there is room.
func (m *model) shownColumns() []*column[Row] {
	rows := m.shownRows()
	t := m.serverTable(max(m.width, 1))
	if m.width <= 0 {
		t.window = 80
	}
	var shown []*column[Row]
	_, widths := t.cells(append(rows, m.board.sum(rows)))
	for _, i := range t.choose(widths) {
		shown = append(shown, &serverColumns[i])
	}
	return shown
}

// split is how many lines servers, gateways and hot keys get of those that there are, by
// how many they need: the panes share with the servers, and what one does not need others get.
func split(height int, needs [3]int) (got [3]int) {
	left, open := height, 0
	for _, n := range needs {
		if n > 0 {
			open++
		}
	}
	done := [3]bool{}
	for open > 0 {
		share := max(left, 0) / open
		changed := false
		for i, n := range needs {
			if !done[i] && n > 0 && n <= share {
				got[i], done[i], changed = n, true, true
				left -= n
				open--
			}
		}
		if changed {
			continue
		}
		for i, n := range needs {
			if !done[i] && n > 0 {
				got[i] = max(left, 0) / open
				left -= got[i]
				open--
			}
		}
	}
	return got
}

// frame is what is around the servers: the header and the total.
const frame = 2

// page is how many servers are shown at a time.
func (m *model) page() int {
	height := m.height
	if height <= 0 {
		height = 24
	}
	got, _, _ := m.share(height - 3)
	return max(1, got[0]-frame)
}

// share divides the lines among the tables.
func (m *model) share(height int) (got [3]int, gateways []Gateway, hot []HotKey) {
	needs := [3]int{frame + max(1, len(m.shownRows())), 0, 0}
	if m.gateways {
		gateways = m.board.gatewayRows()
		needs[1] = 3 + max(1, len(gateways))
	}
	if m.hot {
		hot = m.board.hotKeys(m.hotKeys)
		needs[2] = 3 + max(1, len(hot))
	}
	return split(height, needs), gateways, hot
}

// body is the tables.
func (m *model) body(width, height int) []string {
	got, gateways, hot := m.share(height)
	lines := m.serverLines(width, max(got[0], frame+1))
	if m.gateways {
		none := "no gateway has told the managers of itself"
		if m.asker.managers == nil {
			none = "managers know the gateways: start kumotop with -m"
		}
		t := table[Gateway]{columns: gatewayColumns, levels: m.levels, window: width}
		header, rows := t.draw(gateways)
		for i, g := range gateways {
			if g.Status == statusNoAnswer {
				rows[i] = m.styled(styleBad, rows[i])
			}
		}
		lines = append(lines, m.pane("gateways", header, rows, none, got[1])...)
	}
	if m.hot {
		t := table[HotKey]{columns: hotColumns, window: width}
		header, rows := t.draw(hot)
		lines = append(lines, m.pane("hot keys (sampled, about the last minute)", header, rows, "no key is asked for much more often than others", got[2])...)
	}
	return lines
}

// serverLines are the servers: header, rows, total.
func (m *model) serverLines(width, height int) []string {
	rows := m.shownRows()
	if len(rows) == 0 {
		switch {
		case m.filter != "":
			return []string{fmt.Sprintf("no server's address or status has %q in it", m.filter)}
		case m.board.managed && m.board.status == nil && m.board.statusErr == nil:
			return []string{"asking the managers..."}
		}
		return []string{"no server is attached"}
	}
	sum, room := m.board.sum(rows), max(1, height-frame)
	first := max(0, min(m.top, len(rows)-room))
	if m.filter != "" {
		sum.trend = nil // that of all servers
	}
	if room < len(rows) {
		sum.Addr = fmt.Sprintf("total (%d-%d of %d)", first+1, first+room, len(rows))
	}
	header, lines := m.serverTable(width).draw(append(rows, sum))
	total := lines[len(lines)-1]
	lines = lines[:len(lines)-1]
	for i, r := range rows {
		switch r.Status {
		case statusFault, statusNoAnswer:
			lines[i] = m.styled(styleBad, lines[i])
		case "Copying", "WAIT", "Deleting", "inactive":
			lines[i] = m.styled(styleBusy, lines[i])
		}
	}
	lines = lines[first:min(first+room, len(lines))]
	header += strings.Repeat(" ", max(0, width-ansi.StringWidth(header)))
	return slices.Concat([]string{m.styled(styleHeader, header)}, lines, []string{m.styled(styleTotal, total)})
}

// pane is a title, a header and what there is room for of the lines.
func (m *model) pane(title, header string, rows []string, none string, height int) []string {
	if height <= 3 {
		return nil
	}
	if len(rows) == 0 {
		rows, header = []string{none}, ""
	}
	title = m.styled(stylePane, title)
	if hidden := len(rows) - (height - 3); hidden > 0 {
		rows = rows[:height-3]
		title += fmt.Sprintf("  (%d more)", hidden)
	}
	lines := []string{"", title}
	if header != "" {
		lines = append(lines, m.styled(styleTotal, header))
	}
	return append(lines, rows...)
}
