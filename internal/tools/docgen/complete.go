package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// valued groups the flags that take a value by what it is; choices have groups of their own.
func valued(f *form) (kinds map[operand][]string, lists map[string][]string) {
	kinds, lists = map[operand][]string{}, map[string][]string{}
	for _, x := range f.Flags {
		if x.Value == "" || x.Past {
			continue
		}
		if list := choices[f.Prog][x.Long]; list != nil {
			words := strings.Join(list, " ")
			lists[words] = append(lists[words], names(x)...)
			continue
		}
		kinds[valueKind(x.Value)] = append(kinds[valueKind(x.Value)], names(x)...)
	}
	return kinds, lists
}

// flagNames are the names of all flags but those of the past.
func flagNames(f *form) (list []string) {
	for _, x := range f.Flags {
		if !x.Past {
			list = append(list, names(x)...)
		}
	}
	return list
}

func commandNames(f *form) (list []string) {
	for _, c := range f.commands {
		list = append(list, c.Name())
	}
	return list
}

// bash is a program's completion for bash. It needs nothing beside bash. The line is parted by blanks, not by
// COMP_WORDBREAKS, which would make three words of host:port.
func bash(p *page) string {
	var b strings.Builder
	fn := "_" + strings.ReplaceAll(p.name, "-", "_")
	fmt.Fprintf(&b, "# bash completion for %s; %s\n# shellcheck shell=bash\n\n%s() {\n", p.name, made, fn)
	b.WriteString(`    local line=${COMP_LINE:0:COMP_POINT} cur='' prev=''
    local -a words
    read -ra words <<<"$line"
    if [[ $line == *[[:space:]] ]]; then words+=(''); fi
    cur=${words[${#words[@]} - 1]}
    COMPREPLY=()
    if [[ ${#words[@]} -ge 2 ]]; then prev=${words[${#words[@]} - 2]}; fi
`)
	forms := p.completions()
	if len(forms) > 1 {
		f := &forms[0]
		fmt.Fprintf(&b, "    if [[ ${#words[@]} -eq 2 ]]; then\n        mapfile -t COMPREPLY < <(compgen -W '%s --help --version' -- \"$cur\")\n        return\n    fi\n    case ${words[1]} in\n", strings.Join(commandNames(f), " "))
		for i := range forms[1:] {
			f := &forms[i+1]
			fmt.Fprintf(&b, "    %s)\n", strings.TrimPrefix(f.Prog, p.name+" "))
			bashForm(&b, f, "        ", 2)
			b.WriteString("        ;;\n")
		}
		b.WriteString("    esac\n")
	} else {
		bashForm(&b, &forms[0], "    ", 1)
	}
	fmt.Fprintf(&b, "}\ncomplete -F %s %s\n", fn, p.name)
	return b.String()
}

// bashForm completes one command line whose first word is words[first].
func bashForm(b *strings.Builder, f *form, in string, first int) {
	line := func(format string, a ...any) { fmt.Fprintf(b, in+format+"\n", a...) }
	reply := func(what string) string { return fmt.Sprintf(`mapfile -t COMPREPLY < <(compgen %s -- "$cur")`, what) }
	how := func(k operand) string {
		switch k {
		case file:
			return "compopt -o filenames; " + reply("-f")
		case directory:
			return "compopt -o filenames; " + reply("-d")
		case host:
			return reply("-A hostname")
		}
		return ":"
	}
	kinds, lists := valued(f)
	// --flag=value: what is completed is behind the sign, as bash parts words there.
	line(`if [[ $cur == -*=* ]]; then prev=${cur%%%%=*} cur=${cur#*=}; fi`)
	line("case $prev in")
	for _, k := range []operand{file, directory, host, none} {
		if len(kinds[k]) > 0 {
			line("%s) %s; return ;;", strings.Join(kinds[k], " | "), how(k))
		}
	}
	for _, words := range slices.Sorted(maps.Keys(lists)) {
		line("%s) %s; return ;;", strings.Join(lists[words], " | "), reply("-W '"+words+"'"))
	}
	line("esac")
	line("if [[ $cur == -* ]]; then %s; return; fi", reply("-W '"+strings.Join(flagNames(f), " ")+"'"))
	if len(f.commands) == 0 || f.operand == command {
		if f.operand != none {
			line("%s", how(f.operand))
		}
		return
	}
	// Which operand is it? Values of flags are none.
	var takes []string
	for _, k := range []operand{file, directory, host, none} {
		takes = append(takes, kinds[k]...)
	}
	for _, words := range slices.Sorted(maps.Keys(lists)) {
		takes = append(takes, lists[words]...)
	}
	managed := ""
	if f.managed != "" {
		line("local managed=''")
		managed = "-z $managed && "
	}
	line("local word='' last='' i=0 operands=0")
	line("for ((i = %d; i < ${#words[@]} - 1; i++)); do", first)
	line("    word=${words[i]}")
	if f.managed != "" {
		line("    case $word in -m | --manager | -m=* | --manager=*) managed=1 ;; esac")
	}
	if len(takes) > 0 {
		line("    case $word in %s) ((i++)); continue ;; esac", strings.Join(takes, " | "))
	}
	line("    if [[ $word != -* ]]; then ((operands++)); last=$word; fi")
	line("done")
	line("if [[ %s$operands -eq 0 ]]; then %s; return; fi", managed, how(f.operand))
	line("case $last in %s) if [[ $operands -gt 0 ]]; then return; fi ;; esac", strings.Join(commandNames(f), " | "))
	line("%s", reply("-W '"+strings.Join(commandNames(f), " ")+"'"))
}

// zsh is a program's completion for zsh, found by its name in $fpath.
func zsh(p *page) string {
	var b strings.Builder
	fmt.Fprintf(&b, "#compdef %s\n# %s\n\n", p.name, made)
	forms := p.completions()
	if len(forms) == 1 {
		zshForm(&b, &forms[0], "")
		return b.String()
	}
	b.WriteString("if (( CURRENT == 2 )); then\n    local -a commands=(\n")
	for _, c := range forms[0].commands {
		fmt.Fprintf(&b, "        %s\n", sh(c.Name()+":"+c.Help))
	}
	b.WriteString("    )\n    _describe command commands\n    return\nfi\nlocal command=$words[2]\nshift words\n(( CURRENT-- ))\ncase $command in\n")
	for i := range forms[1:] {
		f := &forms[i+1]
		fmt.Fprintf(&b, "(%s)\n", strings.TrimPrefix(f.Prog, p.name+" "))
		zshForm(&b, f, "    ")
		b.WriteString("    ;;\n")
	}
	b.WriteString("esac\n")
	return b.String()
}

func zshForm(b *strings.Builder, f *form, in string) {
	how := func(k operand) string {
		switch k {
		case file:
			return "_files"
		case directory:
			return "_files -/"
		case host:
			return "_hosts"
		}
		return " "
	}
	if len(f.commands) > 0 {
		fmt.Fprintf(b, "%slocal -a commands=(\n", in)
		for _, c := range f.commands {
			fmt.Fprintf(b, "%s    %s\n", in, sh(c.Name()+":"+c.Help))
		}
		fmt.Fprintf(b, "%s)\n", in)
	}
	escape := strings.NewReplacer("[", `\[`, "]", `\]`, ":", `\:`)
	fmt.Fprintf(b, "%s_arguments -S \\\n", in)
	for _, x := range f.Flags {
		if x.Past {
			continue
		}
		action := ""
		if x.Value != "" {
			act := how(valueKind(x.Value))
			if list := choices[f.Prog][x.Long]; list != nil {
				act = "(" + strings.Join(list, " ") + ")"
			}
			action = ":" + escape.Replace(x.Value) + ":" + act
		}
		alone := strings.Join(names(x), " ")
		for _, n := range names(x) {
			mark := ""
			if x.Value != "" && strings.HasPrefix(n, "--") {
				mark = "="
			}
			fmt.Fprintf(b, "%s    %s \\\n", in, sh("("+alone+")"+n+mark+"["+escape.Replace(meaning(x))+"]"+action))
		}
	}
	switch {
	case len(f.commands) > 0 && f.managed != "":
		// With -m the first operand is the command.
		fmt.Fprintf(b, "%s    '1: :{ (( ${+opt_args[-m]} || ${+opt_args[--manager]} )) && _describe command commands || _hosts }' \\\n", in)
		fmt.Fprintf(b, "%s    '*: :{ _describe command commands }'\n", in)
	case len(f.commands) > 0:
		fmt.Fprintf(b, "%s    '1: :%s' \\\n%s    '2: :{ _describe command commands }' '*: : '\n", in, how(f.operand), in)
	default:
		fmt.Fprintf(b, "%s    '*: :%s'\n", in, how(f.operand))
	}
}

// fish is a program's completion for fish.
func fish(p *page) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# fish completion for %s; %s\n\ncomplete -c %s -f\n", p.name, made, p.name)
	forms := p.completions()
	if len(forms) == 1 {
		fishForm(&b, p.name, &forms[0], "")
		return b.String()
	}
	for _, c := range forms[0].commands {
		fmt.Fprintf(&b, "complete -c %s -n __fish_use_subcommand -a %s -d %s\n", p.name, c.Name(), sh(c.Help))
	}
	for i := range forms[1:] {
		f := &forms[i+1]
		fishForm(&b, p.name, f, "__fish_seen_subcommand_from "+strings.TrimPrefix(f.Prog, p.name+" "))
	}
	return b.String()
}

func fishForm(b *strings.Builder, prog string, f *form, when string) {
	cond := func(more string) string {
		all := strings.Join(slices.DeleteFunc([]string{when, more}, func(s string) bool { return s == "" }), "; and ")
		if all == "" {
			return ""
		}
		return " -n " + sh(all)
	}
	for _, x := range f.Flags {
		if x.Past {
			continue
		}
		fmt.Fprintf(b, "complete -c %s%s", prog, cond(""))
		switch {
		case len(x.Short) == 1:
			fmt.Fprintf(b, " -s %s", x.Short)
		case x.Short != "":
			fmt.Fprintf(b, " -o %s", x.Short)
		}
		if x.Long != "" {
			fmt.Fprintf(b, " -l %s", x.Long)
		}
		fmt.Fprintf(b, " -d %s", sh(meaning(x)))
		if x.Value != "" {
			if list := choices[f.Prog][x.Long]; list != nil {
				fmt.Fprintf(b, " -x -a %s", sh(strings.Join(list, " ")))
			} else {
				b.WriteString(map[operand]string{file: " -r -F", directory: " -x -a '(__fish_complete_directories)'", host: " -x -a '(__fish_print_hostnames)'", none: " -x"}[valueKind(x.Value)])
			}
		}
		b.WriteString("\n")
	}
	first := map[operand]string{file: "-F", directory: "-a '(__fish_complete_directories)'", host: "-a '(__fish_print_hostnames)'"}[f.operand]
	if len(f.commands) == 0 {
		if first != "" {
			fmt.Fprintf(b, "complete -c %s%s %s\n", prog, cond(""), first)
		}
		return
	}
	begun := "test (count (commandline -opc)) -gt 1"
	fmt.Fprintf(b, "complete -c %s%s %s\n", prog, cond("not "+begun), first)
	for _, c := range f.commands {
		fmt.Fprintf(b, "complete -c %s%s -a %s -d %s\n", prog, cond(begun), c.Name(), sh(c.Help))
	}
}

// sh is a word in single quotes, for every shell here.
func sh(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
