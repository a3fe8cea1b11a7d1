package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kumofs/kumofs/internal/cli"
)

const root = "../../.."

// What is in the repository is what the flags are now.
func TestCurrent(t *testing.T) {
	want, err := files()
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range want {
		if have, err := os.ReadFile(filepath.Join(root, path)); err != nil || string(have) != text {
			t.Errorf("%s is not what the flags are: run \"make docs\" (%v)", path, err)
		}
	}
	there, err := present(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range there {
		if _, ok := want[path]; !ok {
			t.Errorf("%s is of no program: run \"make docs\"", path)
		}
	}
}

// Every program is documented.
func TestPrograms(t *testing.T) {
	dirs, err := os.ReadDir(filepath.Join(root, "cmd"))
	if err != nil {
		t.Fatal(err)
	}
	var have, want []string
	for _, d := range dirs {
		have = append(have, d.Name())
	}
	for _, p := range programs {
		want = append(want, p.name)
	}
	slices.Sort(want)
	if !slices.Equal(have, want) {
		t.Errorf("programs in cmd: %q, documented: %q", have, want)
	}
	for i := range programs {
		forms, err := programs[i].forms()
		if err != nil {
			t.Fatal(err)
		}
		p := page{programs[i], forms}
		for _, f := range p.completions() {
			if f.operand == none && strings.Contains(f.Synopsis[0], "COMMAND") {
				t.Errorf("%s: what comes before COMMAND in %q is not known to completions", f.Prog, f.Synopsis[0])
			}
		}
		for long := range choices[p.name] {
			if !slices.ContainsFunc(forms[0].Flags, func(x cli.FlagDescription) bool { return x.Long == long }) {
				t.Errorf("%s has no flag --%s", p.name, long)
			}
		}
	}
}

func TestRoff(t *testing.T) {
	for in, want := range map[string]string{
		"-a b":   `\-a b`,
		".TH x":  `\&.TH x`,
		"'x' \\": `\(aqx\(aq \e`,
	} {
		if got := roff(in); got != want {
			t.Errorf("roff(%q) = %q, want %q", in, got, want)
		}
	}
	if got := valueKind("ADDR[:PORT=19700],..."); got != host {
		t.Error(got)
	}
}

// What a person at bash gets for TAB.
func TestBash(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("no bash")
	}
	dir := t.TempDir()
	for _, name := range []string{"all.log", "some dir"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	abs, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	// As readline does it: COMP_LINE and COMP_POINT, then what "complete -p" names. A host of
	// our own is among those that are completed.
	const script = `
line=$1 dir=$2
name=${line%% *}
source "$3/deploy/completion/bash/$name" || exit 1
fn=$(complete -p "$name" | sed 's/.* -F \([^ ]*\) .*/\1/')
hosts=$dir/hosts; echo '127.0.0.1 kumotesthost' >"$hosts"; HOSTFILE=$hosts
cd "$dir" || exit 1
compopt() { :; } # there is no completion under way
COMP_LINE=$line COMP_POINT=${#line}
"$fn"
printf '%s\n' "${COMPREPLY[@]}"
`
	for _, test := range []struct{ line, want, not string }{
		{"kumoctl kumotest", "kumotesthost", ""},
		{"kumoctl svr1:19700 st", "status", "attach"},
		{"kumoctl svr1 ", "attach-noreplace", "--json"},
		{"kumoctl svr1 status --j", "--json", "status"},
		{"kumoctl svr1 status ", "", "attach"},
		{"kumoctl --accept-loss XX svr1 rec", "recover", ""},
		{"kumoctl --cluster-secret-file all", "all.log", ""},
		{"kumoctl --cluster-secret-file=all", "all.log", ""},
		{"kumostat -m svr1 upt", "uptime", ""},
		{"kumostat svr1 replst", "replstat", ""},
		{"kumohash svr1 svr2 -- as", "assign", ""},
		{"kumolog -l w", "warn", "error"},
		{"kumolog al", "all.log", ""},
		{"kumobench --protocol bin", "binary", ""},
		{"kumomergedb some", "some dir", ""},
		{"kumo-manager -", "-Rs", "-Ci"},
		{"kumo-manager -p kumotest", "kumotesthost", ""},
		{"kumo-server --fs", "--fsync", "--zone"},
		{"kumo-gateway --auth-file al", "all.log", ""},
		{"kumofs lo", "local", ""},
		{"kumofs local --ser", "--servers", ""},
		{"kumofs health --pa", "--path", "--servers"},
		{"kumotop kumotest", "kumotesthost", ""},
	} {
		out, err := exec.Command("bash", "--norc", "-c", script, "bash", test.line, dir, abs).CombinedOutput()
		got := strings.Split(strings.TrimSpace(string(out)), "\n")
		if err != nil || !slices.Contains(got, test.want) || test.not != "" && slices.Contains(got, test.not) {
			t.Errorf("%q: %q, %v; want %q, not %q", test.line, got, err, test.want, test.not)
		}
	}
}

// The other shells take what is written for them, where they are installed.
func TestShells(t *testing.T) {
	for shell, pattern := range map[string]string{"bash": "bash/*", "zsh": "zsh/*", "fish": "fish/*"} {
		if _, err := exec.LookPath(shell); err != nil {
			t.Logf("%s is not installed", shell)
			continue
		}
		list, err := filepath.Glob(filepath.Join(root, "deploy/completion", pattern))
		if err != nil || len(list) != len(programs) {
			t.Fatalf("%s: %q, %v", shell, list, err)
		}
		for _, path := range list {
			if out, err := exec.Command(shell, "-n", path).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%s -n %s: %v\n%s", shell, path, err, out)
			}
		}
	}
}

// Manual pages are read without complaint.
func TestMan(t *testing.T) {
	checks := [][]string{{"mandoc", "-Tlint", "-Wwarning"}, {"groff", "-man", "-Tutf8", "-ww", "-z"}}
	list, err := filepath.Glob(filepath.Join(root, "deploy/man/*"))
	if err != nil || len(list) != len(programs) {
		t.Fatalf("%q, %v", list, err)
	}
	for _, check := range checks {
		if _, err := exec.LookPath(check[0]); err != nil {
			t.Logf("%s is not installed", check[0])
			continue
		}
		for _, path := range list {
			if out, err := exec.Command(check[0], append(check[1:], path)...).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%s %s: %v\n%s", strings.Join(check, " "), path, err, out)
			}
		}
	}
}
