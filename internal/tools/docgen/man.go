package main

import (
	"fmt"
	"strings"

	"github.com/kumofs/kumofs/internal/cli"
)

// manDate is of the version that the pages are of: pages must not differ with the day they are made on.
const manDate = "2026-11-28"

// man is a program's manual page, in man(7)'s macros.
func man(p *page) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".\\\" %s\n.TH %s %d \"%s\" \"kumofs\" \"kumofs\"\n", made, strings.ToUpper(roff(p.name)), p.section, manDate)
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n.SH SYNOPSIS\n", roff(p.name), roff(p.purpose))
	first := true
	for _, d := range p.forms {
		for _, s := range d.Synopsis {
			if !first {
				b.WriteString(".br\n")
			}
			first = false
			fmt.Fprintf(&b, ".B %s\n%s\n", roff(d.Prog), roff(s))
		}
	}
	for i, d := range p.forms {
		title, options := "DESCRIPTION", "OPTIONS"
		if i > 0 {
			title, options = strings.ToUpper(d.Prog), ""
		}
		before, list, after := cli.Commands(d.About)
		fmt.Fprintf(&b, ".SH %s\n", quoted(title))
		if before == "" {
			before = p.name + " " + p.purpose + "."
		}
		manText(&b, before, false)
		if len(list) > 0 && i == 0 {
			b.WriteString(".SH COMMANDS\n")
		}
		for _, c := range list {
			fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(c.Usage), roff(c.Help))
		}
		manText(&b, after, len(list) > 0)
		manFlags(&b, options, d.Flags)
	}
	b.WriteString(".SH \"EXIT STATUS\"\n0: done, or stopped by SIGINT or SIGTERM.\n1: it failed; standard error says why.\n2: the command line cannot be taken.\n")
	if p.section == 8 || p.name == "kumofs" {
		b.WriteString(manDaemon)
	}
	b.WriteString(".SH \"SEE ALSO\"\n")
	var others []string
	for _, o := range programs {
		if o.name != p.name {
			others = append(others, fmt.Sprintf(".BR %s (%d)", roff(o.name), o.section))
		}
	}
	b.WriteString(strings.Join(others, " ,\n") + "\n")
	return b.String()
}

// manDaemon is true of every daemon.
const manDaemon = `.SH SIGNALS
.TP
.B SIGTERM, SIGINT
A clean stop. A second one ends the process at once.
.TP
.B SIGHUP
Log files are opened anew; the cluster secret, certificates and users are read again.
.SH ENVIRONMENT
.TP
.B GOMEMLIMIT, GOGC
Bounds of the heap, instead of those that are taken from the memory of the container or machine.
.TP
.B NOTIFY_SOCKET, WATCHDOG_USEC
Set by
.BR systemd (1)
for units of Type=notify: it is told when the daemon is up, reads files again and stops, how it is, and
that its event loop turns.
`

// manText writes paragraphs; one that follows a list begins anew.
func manText(b *strings.Builder, text string, anew bool) {
	if text == "" {
		return
	}
	for i, par := range strings.Split(text, "\n\n") {
		if i > 0 || anew {
			b.WriteString(".PP\n")
		}
		for line := range strings.SplitSeq(par, "\n") {
			b.WriteString(roff(strings.TrimSpace(line)) + "\n")
		}
	}
}

// manFlags writes flags, those of the past at the end. title "": the section goes on.
func manFlags(b *strings.Builder, title string, list []cli.FlagDescription) {
	for _, past := range []bool{false, true} {
		begun := false
		for _, x := range list {
			if x.Past != past {
				continue
			}
			if !begun {
				begun = true
				switch {
				case past:
					b.WriteString(".PP\nTaken without effect, for command lines of the past:\n")
				case title != "":
					fmt.Fprintf(b, ".SH %s\n", title)
				}
			}
			var spelt []string
			for _, n := range names(x) {
				spelt = append(spelt, "\\fB"+roff(n)+"\\fR")
			}
			value := ""
			if x.Value != "" {
				value = " \\fI" + roff(x.Value) + "\\fR"
			}
			fmt.Fprintf(b, ".TP\n%s%s\n%s\n", strings.Join(spelt, ", "), value, roff(meaning(x)))
		}
	}
}

// roff escapes text: no line of it is a request.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(s)
	if strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	return s
}

// quoted is a macro's argument.
func quoted(s string) string {
	if strings.ContainsAny(s, " \t") {
		return `"` + roff(s) + `"`
	}
	return roff(s)
}
