//go:build !planted

package planted

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestNotCarried: a program that is built as it is shipped has nothing of this
// package in it, neither a function nor the name of one that was inlined.
func TestNotCarried(t *testing.T) {
	for _, b := range []Bug{None, AckBeforeStored, bugs} {
		if Is(b) {
			t.Fatalf("bug %d is switched on in a build without the tag", b)
		}
	}
	dir := t.TempDir()
	for program, want := range map[string]bool{"kumo-server": false, "kumo-manager": false} {
		out := filepath.Join(dir, program)
		if msg, err := exec.Command("go", "build", "-o", out, "github.com/kumofs/kumofs/cmd/"+program).CombinedOutput(); err != nil {
			t.Fatalf("go build %s: %v\n%s", program, err, msg)
		}
		code, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if got := bytes.Contains(code, []byte("internal/planted")); got != want {
			t.Errorf("%s: it names this package: %v", program, got)
		}
		// The search itself works: the names of packages that are there are found.
		if !bytes.Contains(code, []byte("internal/clustermap")) {
			t.Errorf("%s has no package names in it; the test shows nothing", program)
		}
	}
}
