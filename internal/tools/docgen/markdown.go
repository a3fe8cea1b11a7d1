package main

import (
	"fmt"
	"strings"

	"github.com/kumofs/kumofs/internal/cli"
)

// markdown is docs/flags.md.
func markdown(pages []page) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Flags\n\n<!-- %s -->\n\nEvery program, its commands and flags. `-x v`, `-x=v`, `--long v` and `--long=v` are the same. Sizes are bytes, or `64M`, `1G` (powers of 1024);\n"+
		"times are seconds, or `500ms`, `1m`. The exit status is 0 when done, 1 after a failure, 2 for a command line that cannot be taken.\n", made)
	for i := range pages {
		p := &pages[i]
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n", p.name, strings.ToUpper(p.purpose[:1])+p.purpose[1:])
		for j, d := range p.forms {
			if j > 0 {
				fmt.Fprintf(&b, "\n### %s\n", d.Prog)
			}
			b.WriteString("\n")
			for _, s := range d.Synopsis {
				fmt.Fprintf(&b, "    %s %s\n", d.Prog, s)
			}
			before, list, after := cli.Commands(d.About)
			if before != "" {
				fmt.Fprintf(&b, "\n%s\n", literal(before))
			}
			if len(list) > 0 {
				b.WriteString("\n| command | meaning |\n|---|---|\n")
				for _, c := range list {
					fmt.Fprintf(&b, "| `%s` | %s |\n", cell(c.Usage), cell(literal(c.Help)))
				}
			}
			if after != "" {
				fmt.Fprintf(&b, "\n%s\n", literal(after))
			}
			markdownFlags(&b, d.Flags)
		}
	}
	return b.String()
}

func markdownFlags(b *strings.Builder, list []cli.FlagDescription) {
	var past []string
	begun := false
	for _, x := range list {
		spelt := "`" + strings.Join(names(x), "`, `") + "`"
		if x.Value != "" {
			spelt += " `" + cell(x.Value) + "`"
		}
		if x.Past {
			past = append(past, spelt)
			continue
		}
		if !begun {
			begun = true
			b.WriteString("\n| flag | default | meaning |\n|---|---|---|\n")
		}
		def := x.Default
		switch {
		case x.Required:
			def = "required"
		case def != "":
			def = "`" + cell(def) + "`"
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", spelt, def, cell(literal(x.Help)))
	}
	if len(past) > 0 {
		fmt.Fprintf(b, "\nTaken without effect, for command lines of the past: %s.\n", strings.Join(past, "; "))
	}
}

// literal keeps Markdown from reading placeholders as tags.
func literal(s string) string { return strings.NewReplacer("<", "&lt;", "*", `\*`).Replace(s) }

// cell keeps a table's cell whole.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
