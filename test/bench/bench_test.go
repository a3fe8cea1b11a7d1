package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/tools/bench"
)

// TestMain lets the test's program be pebble alone, as the command is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == pebbleCommand {
		exit(servePebble(os.Args[2:], os.Stdin, os.Stdout))
	}
	os.Exit(m.Run())
}

// TestSections measures a little in every section.
func TestSections(t *testing.T) {
	for _, peer := range []string{"memcached", "redis-server"} {
		if _, err := exec.LookPath(peer); err != nil {
			t.Skipf("no %s is installed (scripts/deps installs it)", peer)
		}
	}
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", bin, "../../cmd/...").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	file := filepath.Join(t.TempDir(), "B.md")
	if err := os.WriteFile(file, []byte("before\n"+markBegin+"\n"+markEnd+"\nafter\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, s := range sections {
		t.Run(s.name, func(t *testing.T) {
			if s.name == "memory" {
				skipWithoutCgroups(t)
			}
			r := &run{ctx: t.Context(), size: small, bin: bin, tmp: t.TempDir(), progress: t.Output()}
			if err := r.all(s.name, true, file, t.Output()); err != nil {
				t.Fatal(err)
			}
			if len(r.bars) == 0 {
				t.Error("no bar was measured")
			}
			for _, b := range r.bars {
				if b.measured == "" || b.measured == "nothing" || strings.Contains(b.measured, "NaN") {
					t.Errorf("%s: %q", b.name, b.measured)
				}
			}
			if left, _ := os.ReadDir(r.tmp); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			for _, sys := range r.systems {
				if pids := sys.pids(); len(pids) > 0 {
					t.Errorf("%s still runs: %v", sys.Name, pids)
				}
			}
			b, err := os.ReadFile(file)
			if err != nil || !strings.Contains(string(b), sectionMark(s.name)) || !strings.Contains(string(b), r.bars[0].name) {
				t.Errorf("%v: not written:\n%s", err, b)
			}
		})
	}
}

func skipWithoutCgroups(t *testing.T) {
	r := &run{}
	_, err := r.limited(1 << 30)
	if err2 := r.removeCgroups(); err2 != nil {
		t.Fatal(err2)
	}
	if err != nil {
		t.Skip(err)
	}
}

// TestNothingWrongPasses: a system that loses what was stored cannot be measured.
func TestNothingWrongPasses(t *testing.T) {
	if _, err := exec.LookPath("memcached"); err != nil {
		t.Skip("no memcached is installed (scripts/deps installs it)")
	}
	r := &run{ctx: t.Context(), size: small, tmp: t.TempDir(), progress: t.Output()}
	err := r.section(section{measure: func(r *run) error {
		s, err := r.memcached()
		if err != nil {
			return err
		}
		_, err = r.turns("GET", r.load(), false, s) // it was not filled
		return err
	}})
	if err == nil || !strings.Contains(err.Error(), "misses") {
		t.Error(err)
	}
}

func TestUnknownSection(t *testing.T) {
	if err := (&run{}).all("core,cores", false, "", nil); err == nil || !strings.Contains(err.Error(), `"cores"`) {
		t.Error(err)
	}
}

func TestBars(t *testing.T) {
	s := &sheet{}
	s.atLeast("a", bench.SpreadOf([]float64{.9, .96, 2}), .95, "")
	s.atLeast("b", bench.SpreadOf([]float64{.9, .94, 2}), .95, "")
	s.atMost("c", bench.SpreadOf([]float64{4}), 5, "s")
	s.atMost("d", bench.SpreadOf([]float64{5.1}), 5, "s")
	s.atMost("e", nil, 5, "s")
	want := []bar{
		{"a", ">= 0.95", "0.96 (0.90-2.00)", true}, {"b", ">= 0.95", "0.94 (0.90-2.00)", false},
		{"c", "<= 5 s", "4.00 s", true}, {"d", "<= 5 s", "5.10 s", false}, {"e", "<= 5 s", "nothing", false},
	}
	for i, b := range s.bars {
		if b != want[i] {
			t.Errorf("%+v, not %+v", b, want[i])
		}
	}
	text := s.markdown("Title", "command", 0)
	if strings.Count(text, "| met |") != 2 || strings.Count(text, "| **not met** |") != 3 {
		t.Error(text)
	}
}

func TestSectionsOfAFile(t *testing.T) {
	text := []byte("before\n" + markBegin + "\n\n" + sectionMark("planning") + "\n\nby hand\n\n" + markEnd + "\nafter\n")
	put := func(name, s string) {
		t.Helper()
		var err error
		if text, err = withSection(text, name, s); err != nil {
			t.Fatal(err)
		}
	}
	put("core", "core 1\n")
	put("tail", "tail 1\n")
	put("core", "core 2\n")
	put("tail", "tail 2\n")
	want := "before\n" + markBegin + "\n\n" + sectionMark("planning") + "\n\nby hand\n\n" +
		sectionMark("core") + "\n\ncore 2\n\n" + sectionMark("tail") + "\n\ntail 2\n\n" + markEnd + "\nafter\n"
	if string(text) != want {
		t.Errorf("%s\nnot\n%s", text, want)
	}
	if _, err := withSection([]byte("no marks"), "core", "x"); err == nil {
		t.Error("no marks, no error")
	}
}

// TestOthers: a process is others' until it has ended and was waited for.
func TestOthers(t *testing.T) {
	m, err := startMeter()
	if err != nil {
		t.Skip(err)
	}
	cmd := exec.Command("sh", "-c", "while :; do :; done")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond)
	others, err := m.others()
	cmd.Process.Kill()
	cmd.Wait()
	if err != nil || others < .1 {
		t.Errorf("others used %.2f cores, %v", others, err)
	}
	after, err := startMeter()
	if err != nil || after.ours-m.ours < 50*time.Millisecond {
		t.Errorf("it has ended, and counts %v, %v", after.ours-m.ours, err)
	}
}
