//go:build planted

package sim

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/kumofs/kumofs/internal/planted"
)

// TestScriptsBreak: a script fails when a rule that it names is not kept.
func TestScriptsBreak(t *testing.T) {
	bugs := map[string]planted.Bug{}
	for _, b := range planted.All {
		bugs[b.Name] = b.Bug
	}
	defer planted.Switch(planted.None)
	files, _ := filepath.Glob("testdata/*.txt")
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range breaksOf(string(text)) {
			bug, ok := bugs[name]
			if !ok {
				t.Errorf("%s: there is no planted bug %q", f, name)
				continue
			}
			planted.Switch(bug)
			r := RunScript(string(text), nil)
			if len(r.Failures) == 0 {
				t.Errorf("%s does not fail with %s, which was asked for %d times", f, name, planted.Hits())
			}
		}
	}
}
