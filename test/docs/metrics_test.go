package docs

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kumofs/kumofs/internal/gateway"
	"github.com/kumofs/kumofs/internal/manager"
	"github.com/kumofs/kumofs/internal/metrics"
	"github.com/kumofs/kumofs/internal/server"
)

const metricsDoc = "docs/metrics.md"

var update = flag.Bool("update", false, "write the tables of "+metricsDoc+" anew")

// exported are the metrics of each daemon.
var exported = map[string][]metrics.Desc{"manager": manager.Metrics(), "server": server.Metrics(), "gateway": gateway.Metrics()}

// metricTable is a daemon's table in the document, in the order of the code.
func metricTable(list []metrics.Desc) string {
	var b strings.Builder
	b.WriteString("| name | type | unit | meaning |\n|---|---|---|---|\n")
	for _, d := range list {
		name := "`" + d.Name + "`"
		if d.Label != "" {
			name += " by `" + d.Label + "`"
		}
		unit := d.Unit()
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", name, d.Type, unit, strings.ReplaceAll(d.Help, "|", "\\|"))
	}
	return b.String()
}

// TestMetrics: docs/metrics.md has every metric of the code, as the code describes it, and no
// other. With -update its tables are written anew.
func TestMetrics(t *testing.T) {
	path := filepath.Join(root, metricsDoc)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for daemon, list := range exported {
		begin, end := "<!-- kumo-"+daemon+" -->\n", "<!-- end -->\n"
		head, rest, ok := strings.Cut(text, begin)
		table, tail, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Fatalf("%s has no %q ... %q", metricsDoc, begin, end)
		}
		want := metricTable(list)
		if table != want && !*update {
			t.Errorf("the table of kumo-%s in %s is not what the code has; go test ./test/docs -run TestMetrics -update writes it:\n%s", daemon, metricsDoc, differ(table, want))
		}
		text = head + begin + want + end + tail
	}
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// differ are the lines that only one of two texts has.
func differ(a, b string) string {
	var out strings.Builder
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for _, line := range x {
		if !slices.Contains(y, line) {
			out.WriteString("- " + line + "\n")
		}
	}
	for _, line := range y {
		if !slices.Contains(x, line) {
			out.WriteString("+ " + line + "\n")
		}
	}
	return out.String()
}

var (
	metricName = regexp.MustCompile(`^kumo_(manager|server|gateway)_[a-z0-9]+(_[a-z0-9]+)*$`)
	units      = []string{"seconds", "bytes"}
)

// TestMetricNames: names are kumo_<daemon>_<thing>_<unit>; counters, and they alone, end in _total,
// times are in seconds, and every metric is described by a sentence.
func TestMetricNames(t *testing.T) {
	for daemon, list := range exported {
		seen := map[string]bool{}
		for _, d := range list {
			switch {
			case !metricName.MatchString(d.Name) || !strings.HasPrefix(d.Name, "kumo_"+daemon+"_"):
				t.Errorf("%s is no name of a metric of kumo-%s", d.Name, daemon)
			case seen[d.Name]:
				t.Errorf("%s is there twice", d.Name)
			case (d.Type == "counter") != strings.HasSuffix(d.Name, "_total"):
				t.Errorf("%s is a %s", d.Name, d.Type)
			case (d.Type == "histogram") != strings.HasSuffix(d.Name, "_duration_seconds"):
				t.Errorf("%s is a %s", d.Name, d.Type)
			case !strings.HasSuffix(d.Help, ".") || len(d.Help) < 10:
				t.Errorf("%s: %q is no sentence", d.Name, d.Help)
			case d.Label == "key":
				t.Errorf("%s tells keys", d.Name)
			}
			for _, other := range []string{"_us", "_ms", "_ns", "_kb", "_mb", "_millis", "_minutes"} {
				if strings.HasSuffix(strings.TrimSuffix(d.Name, "_total"), other) {
					t.Errorf("%s is not in %v", d.Name, units)
				}
			}
			seen[d.Name] = true
		}
	}
}
