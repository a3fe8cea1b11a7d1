// Package docs keeps the documents true to the code.
package docs

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	root   = "../.."
	events = "docs/events.md"
	raft   = "github.com/hashicorp/raft"
	// gap stands for what is not constant in a message.
	gap = "..."
)

// passedOn are the functions that pass on what others have said: what they log has no words
// of its own. Values are messages that nothing else shows to be said there.
var passedOn = map[string][]string{
	"cmd/kumofs/main.go runLocal":       nil, // Flags.Warn, which is looked at
	"internal/cli/daemon.go runLogged":  nil, // the same
	"internal/consensus/log.go Accept":  nil, // raft, see TestRaftEvents
	"internal/server/server.go Errorf":  nil, // the store, whose Errorf is looked at
	"internal/store/events.go listener": {"the store ... is damaged in ..."},
}

// said is a message that is logged at a place.
type said struct {
	pos   string // file:line
	text  string
	level string
	keys  []string
}

// source is all of the code; a package's functions and constants are looked up in it.
type source struct {
	fset  *token.FileSet
	pkgs  map[string]*pkg // by directory
	said  []said
	words map[string]bool // every text in the code, with gaps
	mute  map[string]bool // functions that log without words, as passedOn names them
}

type pkg struct {
	dir    string
	files  []*file
	consts map[string]ast.Expr
	calls  map[string][]call // by the name of what is called
}

type file struct {
	path    string
	ast     *ast.File
	imports map[string]bool // names of imported packages
}

// call is a call, and the function that it is in.
type call struct {
	*ast.CallExpr
	file *file
	in   *ast.FuncDecl
}

// foreign tells whether what is called is a function of another package.
func (c *call) foreign() bool {
	sel, ok := c.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && c.file.imports[x.Name]
}

func load(t *testing.T, dirs ...string) *source {
	s := &source{fset: token.NewFileSet(), pkgs: map[string]*pkg{}, words: map[string]bool{}, mute: map[string]bool{}}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			return s.parse(path)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range s.pkgs {
		for _, f := range p.files {
			p.collect(f)
		}
	}
	for _, p := range s.pkgs {
		for _, f := range p.files {
			s.look(p, f)
		}
		for _, list := range p.calls {
			for _, c := range list {
				s.listen(p, c)
			}
		}
	}
	return s
}

func (s *source) parse(path string) error {
	a, err := parser.ParseFile(s.fset, path, nil, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	name := path
	if rel, err := filepath.Rel(root, path); err == nil {
		name = filepath.ToSlash(rel)
	}
	f := &file{path: name, ast: a, imports: map[string]bool{}}
	for _, i := range a.Imports {
		p, _ := strconv.Unquote(i.Path.Value) // it has been parsed
		n := p[strings.LastIndexByte(p, '/')+1:]
		if i.Name != nil {
			n = i.Name.Name
		}
		f.imports[n] = true
	}
	dir := filepath.Dir(path)
	if s.pkgs[dir] == nil {
		s.pkgs[dir] = &pkg{dir: dir, consts: map[string]ast.Expr{}, calls: map[string][]call{}}
	}
	s.pkgs[dir].files = append(s.pkgs[dir].files, f)
	return nil
}

// collect notes a file's constants and calls.
func (p *pkg) collect(f *file) {
	for _, d := range f.ast.Decls {
		if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.CONST {
			for _, spec := range g.Specs {
				v := spec.(*ast.ValueSpec)
				for i, n := range v.Names {
					if i < len(v.Values) {
						p.consts[n.Name] = v.Values[i]
					}
				}
			}
		}
		in, _ := d.(*ast.FuncDecl)
		ast.Inspect(d, func(n ast.Node) bool {
			if c, ok := n.(*ast.CallExpr); ok {
				name := ""
				switch fun := c.Fun.(type) {
				case *ast.SelectorExpr:
					name = fun.Sel.Name
				case *ast.Ident:
					name = fun.Name
				}
				p.calls[name] = append(p.calls[name], call{c, f, in})
			}
			return true
		})
	}
}

// look notes all texts of a file.
func (s *source) look(p *pkg, f *file) {
	for _, d := range f.ast.Decls {
		in, _ := d.(*ast.FuncDecl)
		ast.Inspect(d, func(n ast.Node) bool {
			switch e := n.(type) {
			case *ast.BasicLit, *ast.BinaryExpr:
				for _, text := range p.texts(e.(ast.Expr), in, nil) {
					s.words[text] = true
				}
			}
			return true
		})
	}
}

var verb = regexp.MustCompile(`%[-+# 0-9.*]*[a-zA-Z]`)

// texts are what an expression may be, as far as it is constant. seen are the
// variables that are being looked at.
func (p *pkg) texts(e ast.Expr, in *ast.FuncDecl, seen []string) (out []string) {
	switch e := e.(type) {
	case *ast.ParenExpr:
		return p.texts(e.X, in, seen)
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			text, _ := strconv.Unquote(e.Value) // it has been parsed
			return []string{strings.ReplaceAll(verb.ReplaceAllString(text, gap), "%%", "%")}
		}
	case *ast.BinaryExpr:
		if e.Op == token.ADD {
			for _, x := range p.texts(e.X, in, seen) {
				for _, y := range p.texts(e.Y, in, seen) {
					out = append(out, x+y)
				}
			}
			return out
		}
	case *ast.CallExpr:
		if sel, ok := e.Fun.(*ast.SelectorExpr); ok && (sel.Sel.Name == "Sprintf" || sel.Sel.Name == "Errorf") && len(e.Args) > 0 {
			return p.texts(e.Args[0], in, seen)
		}
	case *ast.Ident:
		if slices.Contains(seen, e.Name) {
			return nil
		}
		if v := p.consts[e.Name]; v != nil {
			return p.texts(v, in, append(seen, e.Name))
		}
		for _, v := range values(in, e.Name) {
			out = append(out, p.texts(v, in, append(seen, e.Name))...)
		}
		if i, n := param(in, e.Name); n > 0 {
			for _, c := range p.calls[in.Name.Name] {
				if len(c.Args) == n && !c.foreign() {
					out = append(out, p.texts(c.Args[i], c.in, append(seen, e.Name))...)
				}
			}
		}
		if out != nil {
			return out
		}
	}
	return []string{gap}
}

// values are what is assigned to a variable of a function.
func values(in *ast.FuncDecl, name string) (out []ast.Expr) {
	if in == nil {
		return nil
	}
	ast.Inspect(in, func(n ast.Node) bool {
		if a, ok := n.(*ast.AssignStmt); ok && len(a.Lhs) == len(a.Rhs) {
			for i, l := range a.Lhs {
				if id, ok := l.(*ast.Ident); ok && id.Name == name {
					out = append(out, a.Rhs[i])
				}
			}
		}
		return true
	})
	return out
}

// param is which of a function's n parameters has the name; n 0: none.
func param(in *ast.FuncDecl, name string) (which, n int) {
	if in == nil {
		return 0, 0
	}
	found := -1
	for _, f := range in.Type.Params.List {
		for _, id := range f.Names {
			if id.Name == name {
				found = n
			}
			n++
		}
	}
	if found < 0 {
		return 0, 0
	}
	return found, n
}

// wordless tells whether a text has nothing that can be searched.
func wordless(text string) bool {
	return strings.Trim(strings.ReplaceAll(text, gap, ""), " :") == ""
}

// listen notes what a call logs as a warning or an error. It goes by names: of *slog.Logger, of
// store.Logger, of secret.Warner and of cli.Flags.
func (s *source) listen(p *pkg, c call) {
	sel, ok := c.Fun.(*ast.SelectorExpr)
	if !ok {
		return
	}
	if x, ok := sel.X.(*ast.Ident); c.foreign() && ok && x.Name != "slog" {
		return // http.Error, fmt.Errorf
	}
	at := 0 // of the message
	var levels []string
	switch sel.Sel.Name {
	case "Warn":
		levels = []string{"WARN"}
	case "Error", "Errorf":
		levels = []string{"ERROR"}
	case "WarnContext":
		at, levels = 1, []string{"WARN"}
	case "ErrorContext":
		at, levels = 1, []string{"ERROR"}
	case "Log", "LogAttrs":
		at = 2
		if len(c.Args) > at {
			levels = loud(c.Args[1], c.in)
		}
	}
	if len(levels) == 0 || len(c.Args) <= at {
		return // Error() of an error
	}
	texts := p.texts(c.Args[at], c.in, nil)
	rest := c.Args[at+1:]
	switch {
	case len(texts) == 1 && texts[0] == gap && len(rest) == 1: // Flags.Warn("%s", text)
		texts, rest = p.texts(rest[0], c.in, nil), nil
	case len(texts) == 1 && texts[0] == gap && len(rest) == 3: // Warner.Warn(log, what, addr, why)
		texts, rest = p.texts(rest[0], c.in, nil), nil
		for i := range texts {
			texts[i] += " ...: ..."
		}
	case sel.Sel.Name == "Errorf":
		rest = nil
	}
	pos := s.fset.Position(c.Pos())
	for _, text := range texts {
		list := []string{text}
		if wordless(text) {
			place := c.file.path
			if c.in != nil {
				place += " " + c.in.Name.Name
			}
			s.mute[place] = true
			if more, known := passedOn[place]; known { // else no entry has it
				list = more
			}
		}
		for _, text := range list {
			for _, level := range levels {
				s.said = append(s.said, said{fmt.Sprintf("%s:%d", c.file.path, pos.Line), text, level, p.keys(rest)})
			}
		}
	}
}

// loud are the levels from WARN on that an expression may be; one that is not understood may be any.
func loud(e ast.Expr, in *ast.FuncDecl) (levels []string) {
	list := []ast.Expr{e}
	if id, ok := e.(*ast.Ident); ok {
		list = values(in, id.Name)
	}
	for _, v := range list {
		if sel, ok := v.(*ast.SelectorExpr); ok {
			switch sel.Sel.Name {
			case "LevelWarn":
				levels = append(levels, "WARN")
			case "LevelError":
				levels = append(levels, "ERROR")
			case "LevelInfo", "LevelDebug":
			default:
				levels = append(levels, "WARN", "ERROR")
			}
		}
	}
	if len(list) == 0 {
		levels = []string{"WARN", "ERROR"}
	}
	return levels
}

// keys are the names of the attributes.
func (p *pkg) keys(args []ast.Expr) (out []string) {
	for i := 0; i < len(args); i += 2 {
		if lit, ok := args[i].(*ast.BasicLit); ok {
			out = append(out, p.texts(lit, nil, nil)...)
		}
	}
	return out
}

// entry is one of the document.
type entry struct {
	line   int
	head   string          // what stands below the message: level and attributes
	levels map[string]bool // that the code has it at
	keys   map[string]bool
}

var code = regexp.MustCompile("`([^`]+)`")

// spans are what stands between backquotes.
func spans(text string) (out []string) {
	for _, m := range code.FindAllStringSubmatch(text, -1) {
		out = append(out, m[1])
	}
	return out
}

// readEvents gives the document's entries, by message, and the texts of its tables, with
// their lines.
func readEvents(t *testing.T) (entries map[string]*entry, rows map[string]int) {
	b, err := os.ReadFile(filepath.Join(root, events))
	if err != nil {
		t.Fatal(err)
	}
	entries, rows = map[string]*entry{}, map[string]int{}
	var last *entry
	for i, line := range strings.Split(string(b), "\n") {
		switch {
		case strings.HasPrefix(line, "### "):
			last = &entry{line: i + 1, levels: map[string]bool{}, keys: map[string]bool{}}
			text := spans(line)
			if len(text) != 1 {
				t.Fatalf("%s:%d: an entry is one message between backquotes", events, i+1)
			}
			if entries[text[0]] != nil {
				t.Errorf("%s:%d: there are two entries for %q", events, i+1, text[0])
			}
			entries[text[0]] = last
		case strings.HasPrefix(line, "| `"):
			cell, _, _ := strings.Cut(line[2:], " | ")
			for _, text := range spans(cell) {
				rows[text] = i + 1
			}
		case last != nil && last.head == "" && line != "":
			last.head = line
		}
	}
	return entries, rows
}

// TestEvents: docs/events.md has every warning and error that a daemon can log, at its level
// and with its attributes, and none that no daemon logs.
func TestEvents(t *testing.T) {
	entries, rows := readEvents(t)
	s := load(t, filepath.Join(root, "internal"), filepath.Join(root, "cmd"))
	if len(s.said) < 40 {
		t.Fatalf("only %d messages were found in the code", len(s.said))
	}
	slices.SortFunc(s.said, func(a, b said) int { return strings.Compare(a.pos, b.pos) })
	for _, m := range s.said {
		e := entries[m.text]
		if e == nil {
			t.Errorf("%s: %s has no entry for %s %q", m.pos, events, m.level, m.text)
			continue
		}
		e.levels[m.level] = true
		for _, k := range m.keys {
			e.keys[k] = true
		}
	}
	for _, text := range slices.Sorted(maps.Keys(entries)) {
		e := entries[text]
		if len(e.levels) == 0 {
			t.Errorf("%s:%d: no code logs %q", events, e.line, text)
			continue
		}
		for _, level := range []string{"WARN", "ERROR"} {
			if e.levels[level] != strings.Contains(e.head, level) {
				t.Errorf("%s:%d: the code has %q at %v, not as it is said here", events, e.line, text, slices.Sorted(maps.Keys(e.levels)))
			}
		}
		documented := slices.Sorted(slices.Values(spans(e.head)))
		if keys := slices.Sorted(maps.Keys(e.keys)); !slices.Equal(documented, keys) {
			t.Errorf("%s:%d: %q has the attributes %v, not %v", events, e.line, text, keys, documented)
		}
	}
	for _, text := range slices.Sorted(maps.Keys(rows)) {
		if !strings.HasPrefix(text, "raft: ") && !s.words[text] {
			t.Errorf("%s:%d: the code does not say %q", events, rows[text], text)
		}
	}
	for place, texts := range passedOn {
		if !s.mute[place] {
			t.Errorf("%s passes on nothing any more", place)
		}
		for _, text := range texts {
			if !s.words[text] {
				t.Errorf("%s is said to pass on %q, which the code does not say", place, text)
			}
		}
	}
}

// TestRaftEvents: docs/events.md has every warning and error of hashicorp/raft that is passed
// on (internal/consensus/log.go), and no other.
func TestRaftEvents(t *testing.T) {
	_, rows := readEvents(t)
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", raft)
	cmd.Dir = root
	dir, err := cmd.Output()
	if err != nil {
		t.Fatalf("where is %s? %v", raft, err)
	}
	own := load(t, filepath.Join(root, "internal", "consensus"))
	var dropped []string // beginnings of what is logged at DEBUG only
	for _, c := range own.pkgs[filepath.Join(root, "internal", "consensus")].calls["HasPrefix"] {
		if lit, ok := c.Args[1].(*ast.BasicLit); ok && strings.HasSuffix(c.file.path, "/log.go") {
			text, _ := strconv.Unquote(lit.Value) // it has been parsed
			dropped = append(dropped, text)
		}
	}
	if len(dropped) == 0 {
		t.Fatal("internal/consensus/log.go drops nothing any more")
	}
	s := load(t, strings.TrimSpace(string(dir)))
	can := map[string]bool{}
	for _, m := range s.said {
		path := m.pos[:strings.LastIndexByte(m.pos, ':')]
		if wordless(m.text) || filepath.Base(path) == "testing.go" || filepath.Dir(path) != strings.TrimSpace(string(dir)) ||
			slices.ContainsFunc(dropped, func(p string) bool { return strings.HasPrefix(m.text, p) }) {
			continue
		}
		text := "raft: " + m.text
		can[text] = true
		if rows[text] == 0 {
			t.Errorf("%s: %s does not have %q", m.pos, events, text)
		}
	}
	if len(can) < 20 {
		t.Fatalf("only %d messages were found in raft", len(can))
	}
	for _, text := range slices.Sorted(maps.Keys(rows)) {
		if strings.HasPrefix(text, "raft: ") && !can[text] {
			t.Errorf("%s:%d: raft does not say %q, or it is not passed on", events, rows[text], text)
		}
	}
}
