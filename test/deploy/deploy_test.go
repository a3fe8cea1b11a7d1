// Package deploy looks whether what kumofs is installed with (deploy/, .goreleaser.yaml) goes with the programs.
package deploy

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kumofs/kumofs/internal/cli"
)

const root = "../.."

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// daemons make the command lines of the programs that are started by these files.
var daemons = map[string]func() *cli.Flags{
	"kumo-manager": func() *cli.Flags { f, _ := cli.ManagerFlags(); return f },
	"kumo-server":  func() *cli.Flags { f, _ := cli.ServerFlags(); return f },
	"kumo-gateway": func() *cli.Flags { f, _ := cli.GatewayFlags(); return f },
	"kumofs local": func() *cli.Flags { f, _ := cli.LocalFlags(); return f },
}

// parse has a daemon take a command line, without its files.
func parse(where string, argv []string) error {
	prog, args := argv[0], argv[1:]
	if prog == "kumofs" && len(args) > 0 {
		prog, args = prog+" "+args[0], args[1:]
	}
	flags := daemons[prog]
	if flags == nil {
		return fmt.Errorf("%s: %q is no daemon", where, prog)
	}
	if err := flags().Parse(args, io.Discard); err != nil {
		return fmt.Errorf("%s: %s: %w", where, strings.Join(argv, " "), err)
	}
	return nil
}

// The units start the daemons with flags that they take, together with the examples of deploy/default, and have what keeps them
// apart from the rest of the machine.
func TestUnits(t *testing.T) {
	examples := map[string]string{}
	for _, name := range []string{"kumo-manager", "kumo-server", "kumo-gateway", "kumofs"} {
		for _, m := range regexp.MustCompile(`(?m)^#(\w+)="(.*)"$`).FindAllStringSubmatch(read(t, "deploy/default/"+name), -1) {
			examples[m[1]] = strings.NewReplacer("svr1", "127.0.0.1", "svr2", "127.0.0.2", "svr3", "127.0.0.3").Replace(m[2])
		}
	}
	units, err := filepath.Glob(filepath.Join(root, "deploy/systemd/*.service"))
	if err != nil || len(units) != 4 {
		t.Fatalf("%q, %v", units, err)
	}
	dir := t.TempDir()
	for _, path := range units {
		name := filepath.Base(path)
		text := read(t, "deploy/systemd/"+name)
		start := ""
		for line := range strings.Lines(text) {
			if s, ok := strings.CutPrefix(line, "ExecStart=/usr/bin/"); ok {
				start = strings.TrimSpace(s)
			}
		}
		used := 0
		line := regexp.MustCompile(`\$\w+`).ReplaceAllStringFunc(start, func(v string) string {
			if examples[v[1:]] != "" {
				used++
			}
			return examples[v[1:]]
		})
		if used == 0 {
			t.Errorf("%s: no example of its flags in deploy/default", name)
		}
		if err := parse(name, strings.Fields(line)); err != nil {
			t.Error(err)
		}
		for _, want := range []string{"Type=notify\n", "User=kumofs\n", "WatchdogSec=30\n", "Restart=on-failure\n", "RestartPreventExitStatus=2\n",
			// Else systemd would take a panic for a bad command line: Go ends both with 2.
			"Environment=GOTRACEBACK=crash\n", "LimitCORE=0\n",
			"NoNewPrivileges=yes\n", "ProtectSystem=strict\n", "LimitNOFILE=", "TimeoutStopSec=", "OOMScoreAdjust=-", "EnvironmentFile=-/etc/default/"} {
			if !strings.Contains(text, "\n"+want) {
				t.Errorf("%s has no %s", name, want)
			}
		}
		// systemd-analyze wants programs and pages to be there.
		text = regexp.MustCompile(`(?m)^(ExecStart=)/usr/bin/\S+`).ReplaceAllString(text, "${1}/bin/true")
		text = regexp.MustCompile(`(?m)^Documentation=.*\n`).ReplaceAllString(text, "")
		if err := os.WriteFile(filepath.Join(dir, strings.Replace(name, "@.", "@1.", 1)), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("no systemd-analyze; the units were only read")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.service"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("systemd-analyze", append([]string{"verify", "--man=no"}, files...)...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// lists are the YAML lists after "command:", in one line or with a line for each item.
func lists(text string) (all [][]string) {
	item := func(s string) string { return strings.Trim(strings.TrimSpace(s), `"`) }
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		key := strings.TrimSpace(line)
		rest, ok := strings.CutPrefix(key, "command:")
		if !ok {
			continue
		}
		var list []string
		if rest = strings.TrimSpace(rest); rest != "" {
			for _, m := range regexp.MustCompile(`"[^"]*"|[^\s,\[\]"]+`).FindAllString(rest, -1) {
				list = append(list, item(m))
			}
		} else {
			for _, line := range lines[i+1:] {
				s, ok := strings.CutPrefix(strings.TrimSpace(line), "- ")
				if !ok {
					break
				}
				list = append(list, item(s))
			}
		}
		all = append(all, list)
	}
	return all
}

// What containers are started with is what the daemons take.
func TestContainers(t *testing.T) {
	// Names of a cluster's network, which nothing here knows.
	names := regexp.MustCompile(`[a-z-]+-manager-\d\.\w+\.svc|\$\(POD_NAME\)\.\w+\.svc|\$\(POD_IP\)|server\d`)
	for path, want := range map[string]int{
		"deploy/docker/compose.yaml":          7,
		"test/deploy/testdata/default.golden": 3,
		"test/deploy/testdata/all.golden":     5,
	} {
		all := lists(read(t, path))
		if len(all) != want {
			t.Errorf("%s starts %d daemons, not %d", path, len(all), want)
		}
		for _, argv := range all {
			for i := range argv {
				argv[i] = names.ReplaceAllString(argv[i], "127.0.0.1")
			}
			if err := parse(path, argv); err != nil {
				t.Error(err)
			}
		}
	}
	for _, name := range []string{"Dockerfile", "Dockerfile.release"} {
		_, cmd, ok := strings.Cut(read(t, "deploy/docker/"+name), "\nCMD ")
		if !ok {
			t.Fatalf("%s has no CMD", name)
		}
		all := lists("command: " + cmd)
		if len(all) != 1 {
			t.Fatalf("%s: %q", name, cmd)
		}
		if err := parse(name, all[0]); err != nil {
			t.Error(err)
		}
	}
}

// A release has every program, and its packages have what those of "make package" have.
func TestReleases(t *testing.T) {
	release, local := read(t, ".goreleaser.yaml"), read(t, "deploy/package/nfpm.yaml")
	dirs, err := os.ReadDir(filepath.Join(root, "cmd"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		for _, line := range []string{"id: " + d.Name(), "main: ./cmd/" + d.Name(), "binary: " + d.Name()} {
			if !strings.Contains(release, "    "+line+"\n") {
				t.Errorf(".goreleaser.yaml has no %q", line)
			}
		}
	}
	// Both list files with the same words; indentation differs.
	words := func(text, from, to string) []string {
		_, text, ok := strings.Cut(text, from)
		if !ok {
			t.Fatalf("no %q", from)
		}
		if to != "" {
			text, _, _ = strings.Cut(text, to)
		}
		return strings.Fields(text)
	}
	const first = "- src: deploy/systemd/*.service"
	have, want := words(local, first, ""), words(release, first, "\ndockers_v2:")
	if !slices.Equal(have, want) {
		t.Errorf("deploy/package/nfpm.yaml and .goreleaser.yaml have other files:\n%q\n%q", have, want)
	}
}
