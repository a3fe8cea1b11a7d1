package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"
)

// ErrHelp and ErrVersion are what Parse returns after it has printed the help
// or the version: the program is done, with exit status 0.
var (
	ErrHelp    = errors.New("help was printed")
	ErrVersion = errors.New("the version was printed")
)

// UsageError is a command line that cannot be taken: exit status 2.
type UsageError struct {
	Prog string
	Msg  string
	Help string // further lines, such as the list of commands
}

// Error is the complaint and where to read more.
func (e *UsageError) Error() string {
	if e.Help != "" {
		return e.Msg + "\n" + strings.TrimRight(e.Help, "\n")
	}
	return e.Msg + "\nsee " + e.Prog + " --help"
}

// Flags is one program's command line. It wraps flag.FlagSet: every flag is
// registered once under a short and a long name (either may be empty), and
// -x, --x, "-x v" and "-x=v" all work.
type Flags struct {
	prog      string
	synopsis  string
	about     string
	set       *flag.FlagSet
	entries   []*entry
	byName    map[string]*entry
	checks    []func() error
	args      []string
	dash      int
	warnings  []string
	bad       error // why the last value was refused
	version   bool  // --version was given
	described bool  // describeFlag was
}

// entry is one flag as the help shows it.
type entry struct {
	short, long string
	value       string // "" for a switch
	def         string
	help        string
	ignored     bool
	required    bool
	given       bool
}

// name is the flag as messages name it: the long name where there is one.
func (e *entry) name() string {
	if e.long != "" {
		return "--" + e.long
	}
	return "-" + e.short
}

// NewFlags starts a command line. synopsis is what follows the program's name
// in the first line of the help; it may have several lines.
func NewFlags(prog, synopsis string) *Flags {
	f := &Flags{prog: prog, synopsis: synopsis, byName: map[string]*entry{}, dash: -1}
	f.set = flag.NewFlagSet(prog, flag.ContinueOnError)
	f.set.SetOutput(io.Discard)
	f.set.BoolFunc("version", "", func(string) error {
		f.version = true
		return ErrVersion
	})
	f.set.BoolFunc(describeFlag, "", func(string) error {
		f.described = true
		return ErrHelp
	})
	return f
}

// About sets the paragraph that the help shows between synopsis and flags.
func (f *Flags) About(text string) { f.about = text }

// Prog is the program's name.
func (f *Flags) Prog() string { return f.prog }

// add registers one flag under both names.
func (f *Flags) add(e *entry, v flag.Value) {
	f.entries = append(f.entries, e)
	for _, name := range []string{e.short, e.long} {
		if name != "" {
			f.set.Var(&marked{Value: v, f: f, e: e}, name, e.help)
			f.byName[name] = e
		}
	}
}

// marked notes that a flag was given, under whichever name.
type marked struct {
	flag.Value
	f *Flags
	e *entry
}

// Set sets the value and notes that it was given.
func (m *marked) Set(s string) error {
	m.e.given = true
	err := m.Value.Set(s)
	if err != nil {
		m.f.bad = m.f.BadValue(nameOf(m.e.short, m.e.long), s, err)
	}
	return err
}

// String of the zero value must work: package flag asks it.
func (m *marked) String() string {
	if m.Value == nil {
		return ""
	}
	return m.Value.String()
}

// IsBoolFlag tells package flag that a switch takes no value.
func (m *marked) IsBoolFlag() bool {
	b, ok := m.Value.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}

// Require marks flags (by long name) that must be given.
func (f *Flags) Require(long ...string) {
	for _, name := range long {
		f.byName[name].required = true
	}
}

// Given reports whether the flag (by either name) was on the command line.
func (f *Flags) Given(name string) bool {
	e := f.byName[name]
	return e != nil && e.given
}

// Check adds a validation that Parse runs after all flags have been read. Its
// error should name the flag and the value.
func (f *Flags) Check(fn func() error) { f.checks = append(f.checks, fn) }

// Warn notes something to be said in the log once it is open.
func (f *Flags) Warn(format string, args ...any) {
	f.warnings = append(f.warnings, fmt.Sprintf(format, args...))
}

// Warnings are what the log should say about the command line.
func (f *Flags) Warnings() []string { return f.warnings }

// Args are the positional arguments, without "--".
func (f *Flags) Args() []string { return f.args }

// Dash is how many positional arguments stood before "--", or -1 without one.
func (f *Flags) Dash() int { return f.dash }

// NoArgs makes Parse refuse positional arguments, as daemons do.
func (f *Flags) NoArgs() {
	f.Check(func() error {
		if len(f.args) > 0 {
			return fmt.Errorf("unexpected argument %q", f.args[0])
		}
		return nil
	})
}

// UsageError makes an error with exit status 2 out of a complaint.
func (f *Flags) UsageError(format string, args ...any) error {
	return &UsageError{Prog: f.prog, Msg: fmt.Sprintf(format, args...)}
}

// Parse reads a command line (without the program's name). Flags may stand
// before and after positional arguments. --help and --version print to out.
func (f *Flags) Parse(args []string, out io.Writer) error {
	rest := args
	for {
		if err := f.set.Parse(rest); err != nil {
			return f.parseError(err, out)
		}
		left := f.set.Args()
		ended := len(left) < len(rest) && rest[len(rest)-len(left)-1] == "--"
		if ended {
			f.dash = len(f.args)
			f.args = append(f.args, left...)
			break
		}
		if len(left) == 0 {
			break
		}
		f.args = append(f.args, left[0])
		rest = left[1:]
	}
	return f.validate()
}

// parseError turns package flag's words into ours.
func (f *Flags) parseError(err error, out io.Writer) error {
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(out, f.Help())
		return ErrHelp
	}
	if f.described {
		if err := f.describe(out); err != nil {
			return err
		}
		return ErrHelp
	}
	if f.version {
		fmt.Fprint(out, VersionText(f.prog))
		return ErrVersion
	}
	if f.bad != nil {
		return f.UsageError("%s", f.bad)
	}
	msg := err.Error()
	if name, ok := strings.CutPrefix(msg, "flag provided but not defined: -"); ok {
		return f.UsageError("unknown flag %s", dashed(name))
	}
	if name, ok := strings.CutPrefix(msg, "flag needs an argument: -"); ok {
		return f.UsageError("flag %s needs a value", f.named(name))
	}
	return f.UsageError("%s", msg)
}

// named shows a flag's both names, so that the message can be found in the help.
func (f *Flags) named(name string) string {
	e := f.byName[name]
	if e == nil {
		return dashed(name)
	}
	if e.short != "" && e.long != "" {
		return "-" + e.short + " (--" + e.long + ")"
	}
	return e.name()
}

// dashed puts the dashes before a name as a person would type them.
func dashed(name string) string {
	if len(name) > 2 {
		return "--" + name
	}
	return "-" + name
}

// validate looks for missing flags and runs the checks.
func (f *Flags) validate() error {
	for _, e := range f.entries {
		if e.required && !e.given {
			name := e.long
			if e.short != "" {
				name = e.short
			}
			return f.UsageError("missing required flag %s %s", f.named(name), e.value)
		}
	}
	for _, check := range f.checks {
		if err := check(); err != nil {
			var usage *UsageError
			if errors.As(err, &usage) {
				return err
			}
			return f.UsageError("%s", err)
		}
	}
	return nil
}

// BadValue is the message for a value that a check refuses.
func (f *Flags) BadValue(name, value string, err error) error {
	return fmt.Errorf("invalid value %q for flag %s: %w", value, f.named(name), err)
}

// showSeconds shows a duration as flags take it: "2", "0.5".
func showSeconds(d time.Duration) string { return fmt.Sprintf("%g", d.Seconds()) }
