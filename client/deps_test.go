package client

import (
	"os/exec"
	"strings"
	"testing"
)

// A program with the client keeps its own http.DefaultServeMux and runtime.MemProfileRate: what
// changes them is the daemons'. That is asked of go list because this test's binary has a
// cluster in it.
func TestNothingOfTheDaemonsInside(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	deps := strings.Fields(string(out))
	if len(deps) < 50 {
		t.Fatalf("%d packages: %s", len(deps), out)
	}
	for _, p := range deps {
		switch p {
		case "net/http/pprof", "expvar", "github.com/kumofs/kumofs/internal/inspect":
			t.Errorf("the client brings %s", p)
		}
	}
}
