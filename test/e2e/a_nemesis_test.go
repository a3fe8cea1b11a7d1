package e2e

import (
	"os"
	"testing"
	"time"

	"github.com/kumofs/kumofs/test/e2e/nemesis"
)

// This file's name is the first: of the tests that run side by side the first one
// gets going at once, and this one takes longest.

// Every fault that there is, alone and together, in a cluster of machines of its
// own, under load of which every operation is checked. Its log has the seed and
// the command that repeats it; one hour is `make nemesis MINUTES=60`.
func TestNemesis(t *testing.T) {
	t.Parallel()
	dir := *keep
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "kumofs-nemesis-"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("data and logs are in %s", dir)
			} else if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		})
	}
	nemesis.Run(t, nemesis.Options{Bin: *bin, Dir: dir, Time: size(3*time.Minute, 30*time.Minute), Seed: *seed,
		Lenient: !*long}) // other tests run beside it
}
