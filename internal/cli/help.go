package cli

import (
	"fmt"
	"strings"
)

// Help is the whole help text: synopsis, flags in columns, ignored flags.
func (f *Flags) Help() string {
	var b strings.Builder
	for i, line := range strings.Split(f.synopsis, "\n") {
		lead := "Usage: "
		if i > 0 {
			lead = "       "
		}
		fmt.Fprintf(&b, "%s%s %s\n", lead, f.prog, line)
	}
	if f.about != "" {
		fmt.Fprintf(&b, "\n%s\n", strings.TrimSpace(f.about))
	}
	entries := f.shown()
	writeEntries(&b, "Flags:", entries, false)
	writeEntries(&b, "Flags of the past (taken, without effect):", entries, true)
	return b.String()
}

// shown are the flags that the help has.
func (f *Flags) shown() []*entry {
	return append(f.entries[:len(f.entries):len(f.entries)],
		&entry{short: "h", long: "help", help: "print this help and exit"},
		&entry{long: "version", help: "print the version and exit"})
}

// writeEntries writes the flags that are, or are not, of the past.
func writeEntries(b *strings.Builder, title string, entries []*entry, ignored bool) {
	var left, right []string
	width := 0
	for _, e := range entries {
		if e.ignored != ignored {
			continue
		}
		names := e.names()
		left = append(left, names)
		right = append(right, e.meaning())
		width = max(width, min(len(names), maxNames))
	}
	if len(left) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s\n", title)
	for i := range left {
		if len(left[i]) > width {
			fmt.Fprintf(b, "  %s\n  %-*s  %s\n", left[i], width, "", right[i])
			continue
		}
		fmt.Fprintf(b, "  %-*s  %s\n", width, left[i], right[i])
	}
}

// maxNames is the widest column of names; a longer one gets a line of its own.
const maxNames = 44

// names is the left column: "-Ys, --connect-timeout SEC".
func (e *entry) names() string {
	s := "     "
	if e.short != "" {
		s = fmt.Sprintf("%-5s", "-"+e.short+",")
		if e.long == "" {
			s = "-" + e.short
		}
	}
	if e.long != "" {
		s += "--" + e.long
	}
	if e.value != "" {
		s += " " + e.value
	}
	return s
}

// meaning is the right column.
func (e *entry) meaning() string {
	s := e.help
	if e.required {
		s += " (required)"
	} else if e.def != "" && !e.ignored {
		s += " (default " + e.def + ")"
	}
	return s
}
