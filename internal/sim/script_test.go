package sim

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var scriptTrace = flag.Bool("sim.script", false, "show what happens in the scripts that run")

// TestScripts runs every script in testdata.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	rules := map[string]bool{}
	for _, f := range files {
		name := filepath.Base(f)
		rule, _, _ := strings.Cut(name, "-")
		rules[rule] = true
		t.Run(strings.TrimSuffix(name, ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			var trace bytes.Buffer
			r := RunScript(string(text), &trace)
			if *scriptTrace || len(r.Failures) > 0 {
				t.Log("\n" + trace.String())
			}
			for _, x := range r.Failures {
				t.Errorf("%s: %s", f, x)
			}
		})
	}
	for _, rule := range []string{"r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11"} {
		if !rules[rule] {
			t.Errorf("no script shows %s", strings.ToUpper(rule))
		}
	}
}
