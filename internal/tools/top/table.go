package top

import (
	"strings"

	"github.com/charmbracelet/x/ansi"

	"github.com/kumofs/kumofs/internal/cli"
)

// gap is between two columns.
const gap = 2

// table is columns of T as text.
type table[T any] struct {
	columns []column[T]
	levels  []rune // of sparklines
	window  int    // how wide it may be; 0: as wide as it likes
	// mark is put after the title of the column named marked.
	marked, mark string
}

// cells gives the text of each column, its title first, and how wide it is. Of sparklines
// there is the title alone.
func (t *table[T]) cells(rows []T) (cells [][]string, widths []int) {
	cells, widths = make([][]string, len(t.columns)), make([]int, len(t.columns))
	for i, c := range t.columns {
		title := c.title
		if title == t.marked {
			title += t.mark
		}
		cells[i] = append(cells[i], title)
		widths[i] = ansi.StringWidth(title)
		if t.window > 0 || c.trend != nil {
			widths[i] = max(widths[i], c.width) // for a script columns need not stay where they are
		}
		if c.trend != nil {
			continue
		}
		for r := range rows {
			cell := c.cell(&rows[r])
			cells[i] = append(cells[i], cell)
			widths[i] = max(widths[i], ansi.StringWidth(cell))
		}
	}
	return cells, widths
}

// draw gives the header and a line for each row, columns aligned, no spaces at the end. Columns
// for which there is no room are left out, those of the highest rank first.
func (t *table[T]) draw(rows []T) (header string, lines []string) {
	cells, widths := t.cells(rows)
	shown := t.choose(widths)
	t.sparks(shown, widths)
	out := make([]string, len(rows)+1)
	for line := range out {
		var b strings.Builder
		for n, i := range shown {
			if n > 0 {
				b.WriteString(strings.Repeat(" ", gap))
			}
			c := &t.columns[i]
			text := ""
			if c.trend != nil && line > 0 {
				text = c.trend(&rows[line-1]).spark(widths[i], t.levels)
			} else {
				text = cells[i][line]
			}
			pad := strings.Repeat(" ", max(0, widths[i]-ansi.StringWidth(text)))
			if c.left {
				b.WriteString(text + pad)
			} else {
				b.WriteString(pad + text)
			}
		}
		out[line] = strings.TrimRight(b.String(), " ")
		if t.window > 0 {
			out[line] = ansi.Truncate(out[line], t.window, "")
		}
	}
	return out[0], out[1:]
}

// choose gives the columns that there is room for, in their order.
func (t *table[T]) choose(widths []int) []int {
	var shown []int
	for i := range t.columns {
		shown = append(shown, i)
	}
	for t.window > 0 && len(shown) > 1 {
		all := -gap
		worst := 0
		for n, i := range shown {
			width := widths[i]
			if i == len(t.columns)-1 && t.rank(i) == 0 { // a long key is cut, and drives nothing out
				width = min(width, max(t.window/3, t.columns[i].width))
			}
			all += width + gap
			if t.rank(i) > t.rank(shown[worst]) {
				worst = n
			}
		}
		if all <= t.window {
			break
		}
		shown = append(shown[:worst], shown[worst+1:]...)
	}
	return shown
}

// rank is a column's; that by which rows are sorted stays as long as the first one does.
func (t *table[T]) rank(i int) int {
	if t.columns[i].title == t.marked {
		return 0
	}
	return t.columns[i].rank
}

// sparks gives the sparklines what room is left.
func (t *table[T]) sparks(shown, widths []int) {
	left := t.window + gap
	for _, i := range shown {
		left -= widths[i] + gap
	}
	for _, i := range shown {
		if t.columns[i].trend != nil && t.window > 0 {
			widths[i] = min(trendLength, widths[i]+max(0, left))
		}
	}
}

// text is a whole table for scripts.
func text[T any](columns []column[T], rows []T) string {
	t := table[T]{columns: columns}
	header, lines := t.draw(rows)
	return strings.Join(append([]string{header}, lines...), "\n") + "\n"
}

// word is text of others as one word without control characters.
func word(s string) string {
	if s == "" {
		return unknown
	}
	return cli.Quote(s)
}
