// Command docgen makes what documents the command lines: docs/flags.md, manual pages (deploy/man),
// completions for bash, zsh and fish (deploy/completion). It runs in the root of the repository: "make docs".
package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kumofs/kumofs/internal/cli"
)

// made is what every file says of itself.
const made = `made from the flags by "make docs"; do not edit`

// owned are the directories in which docgen makes every file.
var owned = []string{"deploy/man", "deploy/completion/bash", "deploy/completion/zsh", "deploy/completion/fish"}

func main() {
	if err := write("."); err != nil {
		fmt.Fprintln(os.Stderr, "docgen:", err)
		os.Exit(1)
	}
}

// page is a program with its forms: one, or those of its commands after it.
type page struct {
	program
	forms []cli.Description
}

// files are all that there should be, by path.
func files() (map[string]string, error) {
	out := map[string]string{}
	var pages []page
	for _, p := range programs {
		forms, err := p.forms()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		pages = append(pages, page{p, forms})
	}
	for i := range pages {
		p := &pages[i]
		out[fmt.Sprintf("deploy/man/%s.%d", p.name, p.section)] = man(p)
		out["deploy/completion/bash/"+p.name] = bash(p)
		out["deploy/completion/zsh/_"+p.name] = zsh(p)
		out["deploy/completion/fish/"+p.name+".fish"] = fish(p)
	}
	out["docs/flags.md"] = markdown(pages)
	return out, nil
}

// write makes the files below root, and removes others from the directories that are docgen's.
func write(root string) error {
	want, err := files()
	if err != nil {
		return err
	}
	for path, text := range want {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	there, err := present(root)
	for _, path := range there {
		if _, ok := want[path]; !ok {
			if err := os.Remove(filepath.Join(root, path)); err != nil {
				return err
			}
		}
	}
	return err
}

// present are the files in the directories that are docgen's, with slashes, below root.
func present(root string) (list []string, err error) {
	for _, dir := range owned {
		err = filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			rel, err := filepath.Rel(root, path)
			list = append(list, filepath.ToSlash(rel))
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

// operand is what stands where on a command line beside flags.
type operand int

const (
	none operand = iota
	host
	file
	directory
	command
)

// valueKind is what a flag's value is.
func valueKind(value string) operand {
	first, _, _ := strings.Cut(value, ",")
	switch {
	case first == "FILE", first == "PATH", first == "PIDFILE":
		return file
	case first == "DIR":
		return directory
	case strings.HasPrefix(first, "ADDR"):
		return host
	}
	return none
}

// choices are the values of flags that take one of a few.
var choices = map[string]map[string][]string{
	"kumolog":   {"level": {"debug", "info", "warn", "error"}},
	"kumobench": {"protocol": {"text", "meta", "binary", "redis"}, "distribution": {"uniform", "zipf"}},
}

// form is one command line as completions need it.
type form struct {
	cli.Description
	commands []cli.Command
	operand  operand // the first one; those after it: again, or commands where there are some
	managed  string  // "-m": with this flag commands come at once
}

// forms are what completions are made of.
func (p *page) completions() []form {
	var out []form
	for _, d := range p.forms {
		f := form{Description: d}
		_, f.commands, _ = cli.Commands(d.About)
		first, _, _ := strings.Cut(d.Synopsis[0], " ")
		switch {
		case strings.HasPrefix(first, "MANAGER"), strings.HasPrefix(first, "SERVER"), strings.HasPrefix(first, "HOST"), strings.HasPrefix(first, "ADDR"):
			f.operand = host
		case strings.HasPrefix(first, "DST"):
			f.operand = directory
		case strings.Contains(d.Synopsis[0], "FILE..."):
			f.operand = file
		case first == "COMMAND":
			f.operand = command
		}
		if slices.ContainsFunc(d.Flags, func(x cli.FlagDescription) bool { return x.Long == "manager" && x.Short == "m" }) {
			f.managed = "-m"
		}
		out = append(out, f)
	}
	return out
}

// names are a flag's names as they are typed.
func names(x cli.FlagDescription) (list []string) {
	if x.Short != "" {
		list = append(list, "-"+x.Short)
	}
	if x.Long != "" {
		list = append(list, "--"+x.Long)
	}
	return list
}

// meaning is a flag's help with what is said behind it.
func meaning(x cli.FlagDescription) string {
	switch {
	case x.Required:
		return x.Help + " (required)"
	case x.Default != "" && !x.Past:
		return x.Help + " (default " + x.Default + ")"
	}
	return x.Help
}
