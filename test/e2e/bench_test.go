package e2e

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/tools/bench"
	"github.com/kumofs/kumofs/test/e2e/harness"
)

// TestBench puts `kumofs local` under the loads of kumobench: all protocols, nothing
// fails and every value is right.
func TestBench(t *testing.T) {
	t.Parallel()
	port := harness.FreePort(t)
	d := start(t, t.TempDir(), tool(t, "kumofs"), "local", "--port", strconv.Itoa(port))
	d.says(30*time.Second, "Stop it with Ctrl-C")
	addr, pid := fmt.Sprintf("localhost:%d", port), strconv.Itoa(d.cmd.Process.Pid)
	common := strings.Fields("--keys 1000 --operations 3000 --connections 8 --fill --json")
	for _, protocol := range []string{"text", "meta", "binary"} {
		for _, load := range []string{"--set 30 --pid " + pid, "--set 20 --multiget 10 --pipeline 8 --value-size 0-20K", "--set 20 --rate 3000 --distribution zipf"} {
			argv := append([]string{tool(t, "kumobench"), addr, "--protocol", protocol}, append(strings.Fields(load), common...)...)
			var out struct {
				Systems []struct{ Rounds []bench.Result }
			}
			if err := json.Unmarshal([]byte(must(t, time.Minute, argv...)), &out); err != nil {
				t.Fatal(err)
			}
			r := out.Systems[0].Rounds[0]
			if r.Operations != 3000 || r.Misses > 0 || r.Wrong > 0 || r.Failed() > 0 || r.Lost > 0 || r.Get == nil || r.Hits < r.Get.Count || r.Set == nil {
				t.Errorf("%v: %+v", argv, r)
			}
			if strings.Contains(load, "--pid") && (r.CPU == nil || *r.CPU <= 0) {
				t.Errorf("%v: no CPU time of process %s", argv, pid)
			}
		}
	}
	out := must(t, time.Minute, tool(t, "kumobench"), "--compare", "text="+addr+",pid="+pid, "--compare", "binary="+addr+",protocol=binary",
		"--rounds", "2", "--keys", "1000", "--operations", "1000")
	if !strings.Contains(out, "ratio") || !strings.Contains(out, "\nbinary ") {
		t.Error(out)
	}
}
