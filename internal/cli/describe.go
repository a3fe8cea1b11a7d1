package cli

import (
	"encoding/json"
	"io"
	"strings"
)

// describeFlag has a program print its Description as JSON. No help names it: it is for what makes
// manual pages and completions.
const describeFlag = "describe-flags"

// Description is a program's command line, for documents and completions.
type Description struct {
	Prog     string
	Synopsis []string // what follows the program's name, in one or several forms
	About    string   // paragraphs; may have a list, see Commands
	Flags    []FlagDescription
}

// FlagDescription is one flag.
type FlagDescription struct {
	Short, Long string // without dashes; one of them may be ""
	Value       string // how the value is named; "" for a switch
	Default     string // "": none
	Help        string
	Required    bool
	Past        bool // taken, without effect
}

// Describe is f as documents have it, with --help and --version.
func (f *Flags) Describe() Description {
	d := Description{Prog: f.prog, Synopsis: strings.Split(f.synopsis, "\n"), About: strings.TrimSpace(f.about)}
	for _, e := range f.shown() {
		d.Flags = append(d.Flags, FlagDescription{Short: e.short, Long: e.long, Value: e.value, Default: e.def, Help: e.help, Required: e.required, Past: e.ignored})
	}
	return d
}

// describe prints it.
func (f *Flags) describe(out io.Writer) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(f.Describe())
}

// Command is one line of the list of commands in an About.
type Command struct {
	Usage string // the command and its operands
	Help  string
}

// Name is the command itself.
func (c Command) Name() string { return strings.Fields(c.Usage)[0] }

// Commands parts an About: what is before and after the list of commands, and that list. It begins
// after a line "Commands:"; each command is indented by two blanks and parted from its meaning by two or
// more; lines that go on with a meaning are indented further; an empty line ends it.
func Commands(about string) (before string, list []Command, after string) {
	lines := strings.Split(about, "\n")
	i := 0
	for i < len(lines) && lines[i] != "Commands:" {
		i++
	}
	before = strings.TrimSpace(strings.Join(lines[:i], "\n"))
	for i++; i < len(lines) && strings.HasPrefix(lines[i], "  "); i++ {
		line := lines[i][2:]
		if strings.HasPrefix(line, " ") && len(list) > 0 {
			c := &list[len(list)-1]
			c.Help = strings.TrimSpace(c.Help + " " + strings.TrimSpace(line))
			continue
		}
		usage, help, _ := strings.Cut(line, "  ")
		list = append(list, Command{Usage: strings.TrimSpace(usage), Help: strings.TrimSpace(help)})
	}
	if i < len(lines) {
		after = strings.TrimSpace(strings.Join(lines[i:], "\n"))
	}
	return before, list, after
}
