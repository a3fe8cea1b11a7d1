package docs

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const (
	prometheus = "deploy/prometheus"
	dashboard  = "deploy/grafana/kumofs.json"
	online     = "https://github.com/kumofs/kumofs/blob/main/"
)

// rule is an alert.
type rule struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

func readAlerts(t *testing.T) (all []rule) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, prometheus, "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string
			Rules []rule
		}
	}
	if err := yaml.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// foreign are metrics that others have: Prometheus itself, and the Go client's process collector.
var foreign = []string{"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}

var (
	quoted   = regexp.MustCompile(`"(\\.|[^"\\])*"`)
	braces   = regexp.MustCompile(`\{[^}]*\}`)
	ranges   = regexp.MustCompile(`\[[^\]]*\]`)
	offsets  = regexp.MustCompile(`\boffset\s+\w+`)
	grouping = regexp.MustCompile(`\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)`)
	word     = regexp.MustCompile(`[a-zA-Z_][a-zA-Z0-9_]*`)
	selector = regexp.MustCompile(`([a-zA-Z_][a-zA-Z0-9_]*)\{([^}]*)\}`)
	label    = regexp.MustCompile(`([a-z_]+)\s*(=~|!~|!=|=)`)
	// keywords of PromQL, and the functions that are used.
	keywords = []string{"and", "or", "unless", "sum", "max", "min", "rate", "increase", "histogram_quantile", "predict_linear", "min_over_time"}
)

// checkExpr tells what an expression has that no daemon exports.
func checkExpr(t *testing.T, where, expr string) {
	t.Helper()
	known, types := map[string]string{}, map[string]string{}
	for _, list := range exported {
		for _, d := range list {
			known[d.Name], types[d.Name] = d.Label, d.Type
		}
	}
	base := func(name string) string {
		for _, suffix := range []string{"_bucket", "_count", "_sum"} {
			if b := strings.TrimSuffix(name, suffix); types[b] == "histogram" {
				return b
			}
		}
		return name
	}
	for _, m := range selector.FindAllStringSubmatch(expr, -1) {
		for _, l := range label.FindAllStringSubmatch(quoted.ReplaceAllString(m[2], `""`), -1) {
			if name := l[1]; !slices.Contains([]string{"cluster", "job", "instance", known[base(m[1])]}, name) {
				t.Errorf("%s: %s has no label %s", where, m[1], name)
			}
		}
	}
	plain := quoted.ReplaceAllString(expr, "")
	for _, cut := range []*regexp.Regexp{braces, ranges, offsets, grouping} {
		plain = cut.ReplaceAllString(plain, " ")
	}
	found := false
	for _, name := range word.FindAllString(plain, -1) {
		switch _, ok := known[base(name)]; {
		case slices.Contains(keywords, name):
		case slices.Contains(foreign, name):
			found = true
		case !ok:
			t.Errorf("%s: no daemon has %s", where, name)
		case types[base(name)] == "histogram" && base(name) == name:
			t.Errorf("%s: %s is a histogram: it has _bucket, _count and _sum", where, name)
		default:
			found = true
		}
	}
	if !found {
		t.Errorf("%s: %q has no metric", where, expr)
	}
	if n := strings.Count(expr, "("); n != strings.Count(expr, ")") {
		t.Errorf("%s: parentheses do not match in %q", where, expr)
	}
}

// TestAlerts: each alert goes by metrics that there are, says what it means and what to do,
// and names a page that there is.
func TestAlerts(t *testing.T) {
	rules := readAlerts(t)
	if len(rules) < 20 {
		t.Fatalf("only %d alerts were found", len(rules))
	}
	seen := map[string]bool{}
	for _, r := range rules {
		if seen[r.Alert] || !strings.HasPrefix(r.Alert, "Kumofs") {
			t.Errorf("%q is there twice, or is no name of an alert of kumofs", r.Alert)
		}
		seen[r.Alert] = true
		checkExpr(t, r.Alert, r.Expr)
		if s := r.Labels["severity"]; s != "critical" && s != "warning" || r.For == "" {
			t.Errorf("%s: severity %q, for %q", r.Alert, s, r.For)
		}
		if r.Annotations["summary"] == "" || !strings.HasSuffix(r.Annotations["description"], ".") {
			t.Errorf("%s: summary %q, description %q", r.Alert, r.Annotations["summary"], r.Annotations["description"])
		}
		for _, name := range word.FindAllString(r.Annotations["description"], -1) {
			if strings.HasPrefix(name, "kumo_") {
				if m := metricName.FindString(name); m == "" || !isExported(name) {
					t.Errorf("%s: the description names %s, which no daemon has", r.Alert, name)
				}
			}
		}
		page, ok := strings.CutPrefix(r.Annotations["runbook_url"], online)
		if !ok {
			t.Errorf("%s: %q is no page of %s", r.Alert, r.Annotations["runbook_url"], online)
			continue
		}
		page, anchor, _ := strings.Cut(page, "#")
		b, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			t.Errorf("%s: %v", r.Alert, err)
		} else if anchor != "" && !slices.Contains(anchors(string(b)), anchor) {
			t.Errorf("%s: %s has no section %q", r.Alert, page, anchor)
		}
	}
}

func isExported(name string) bool {
	for _, list := range exported {
		for _, d := range list {
			if d.Name == name {
				return true
			}
		}
	}
	return false
}

// anchors are those of a page's headings, as GitHub makes them.
func anchors(text string) (out []string) {
	for line := range strings.SplitSeq(text, "\n") {
		if head, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && strings.HasPrefix(line, "#") {
			var b strings.Builder
			for _, r := range strings.ToLower(head) {
				switch {
				case r == ' ':
					b.WriteByte('-')
				case r == '-' || r == '_' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
					b.WriteRune(r)
				}
			}
			out = append(out, b.String())
		}
	}
	return out
}

// TestDashboard: each panel shows metrics that there are.
func TestDashboard(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(root, dashboard))
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Title, UID string
		Panels     []struct {
			ID          int
			Type, Title string
			GridPos     struct{ H, W, X, Y int }
			FieldConfig struct{ Defaults struct{ Unit string } }
			Targets     []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	ids, shown, rows := map[int]bool{}, 0, 0
	for i, p := range d.Panels {
		if p.Title == "" || ids[p.ID] || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %d %q at %v", p.ID, p.Title, p.GridPos)
		}
		ids[p.ID] = true
		for _, o := range d.Panels[:i] {
			if a, b := p.GridPos, o.GridPos; a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("panels %q and %q lie over each other", p.Title, o.Title)
			}
		}
		if p.Type == "row" {
			rows++
			continue
		}
		if len(p.Targets) == 0 || p.FieldConfig.Defaults.Unit == "" {
			t.Errorf("panel %q shows nothing, or has no unit", p.Title)
		}
		for _, target := range p.Targets {
			shown++
			checkExpr(t, "panel "+p.Title, target.Expr)
		}
	}
	if d.Title != "kumofs" || rows < 5 || shown < 30 {
		t.Errorf("%q with %d rows and %d expressions", d.Title, rows, shown)
	}
}

// TestPromtool: Prometheus' own tool takes the files, and the alerts fire when they should.
func TestPromtool(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("no promtool (Debian: prometheus)")
	}
	for _, args := range [][]string{{"check", "config", "prometheus.yml"}, {"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}} {
		cmd := exec.Command(promtool, args...)
		cmd.Dir = filepath.Join(root, prometheus)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}
