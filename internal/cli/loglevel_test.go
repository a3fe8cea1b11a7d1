package cli

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A level that is changed holds for all streams and files, until SIGHUP.
func TestLogLevel(t *testing.T) {
	var stdout, stderr bytes.Buffer
	lines := filepath.Join(t.TempDir(), "json")
	log, files, err := SetupLogging(LogOptions{Stdout: &stdout, Stderr: &stderr, JSON: lines})
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	log = log.With("daemon", "x").WithGroup("g") // what was made before follows too
	say := func() (out, errs, file string) {
		stdout.Reset()
		stderr.Reset()
		if err := os.Truncate(lines, 0); err != nil {
			t.Fatal(err)
		}
		log.Debug("dd")
		log.Info("ii")
		log.Warn("ww")
		log.Error("ee")
		found := func(text string) (all string) {
			for _, word := range []string{"dd", "ii", "ww", "ee"} {
				if strings.Contains(text, word) {
					all += word[:1]
				}
			}
			return all
		}
		b, err := os.ReadFile(lines)
		if err != nil {
			t.Fatal(err)
		}
		return found(stdout.String()), found(stderr.String()), found(string(b))
	}
	for _, c := range [][4]string{{"", "", "we", "iwe"}, {"debug", "di", "we", "diwe"}, {"info", "i", "we", "iwe"}, {"error", "", "e", "iwe"}, {"warn", "", "we", "iwe"}} {
		if c[0] != "" {
			if err := files.Level.Set(c[0]); err != nil {
				t.Fatal(err)
			}
			if files.Level.String() != c[0] || files.Level.Start() != "warn" {
				t.Errorf("level %s, at the start %s", files.Level, files.Level.Start())
			}
		}
		if out, errs, file := say(); out != c[1] || errs != c[2] || file != c[3] {
			t.Errorf("at level %q: %q on standard output, %q on standard error, %q in the file", c[0], out, errs, file)
		}
	}
	for _, bad := range []string{"", "loud", "WARN", "warning"} {
		if err := files.Level.Set(bad); err == nil || files.Level.String() != "warn" {
			t.Errorf("level %q was taken", bad)
		}
	}
	if err := files.Level.Set("debug"); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "SIGHUP returns to the level of the command line", func() bool { return files.Level.String() == "warn" })
}

// JSON lines are one object each, on either stream.
func TestJSONLines(t *testing.T) {
	var stdout, stderr bytes.Buffer
	log, files, err := SetupLogging(LogOptions{Level: "info", JSONLines: true, Stdout: &stdout, Stderr: &stderr})
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	log.With("daemon", "x").Info("one", "n", 3)
	log.WithGroup("g").Error("two", "s", "a\nb")
	log.Debug("never")
	for _, c := range []struct {
		text *bytes.Buffer
		want map[string]any
	}{
		{&stdout, map[string]any{"level": "INFO", "msg": "one", "daemon": "x", "n": 3.0}},
		{&stderr, map[string]any{"level": "ERROR", "msg": "two", "g": map[string]any{"s": "a\nb"}}},
	} {
		got := map[string]any{}
		d := json.NewDecoder(c.text)
		if err := d.Decode(&got); err != nil {
			t.Fatal(err)
		}
		delete(got, "time")
		a, _ := json.Marshal(got)
		b, _ := json.Marshal(c.want)
		if !bytes.Equal(a, b) || d.More() {
			t.Errorf("%s, not %s", a, b)
		}
	}
}

func TestLogFlags(t *testing.T) {
	for args, want := range map[string]LogOptions{
		"": {}, "--log-level info": {Level: "info"}, "--log-level debug --log-format json": {Level: "debug", JSONLines: true}, "--log-format text": {},
	} {
		f := NewFlags("testd", "")
		var o LogOptions
		LogFlags(f, &o)
		if err := f.Parse(strings.Fields(args), io.Discard); err != nil || o != want {
			t.Errorf("%q: %+v %v", args, o, err)
		}
	}
	for args, want := range map[string]string{"--log-level loud": `invalid value "loud" for flag --log-level: must be debug, info, warn or error`,
		"--log-level=": "must be debug", "--log-format xml": "must be text or json"} {
		f := NewFlags("testd", "")
		var o LogOptions
		LogFlags(f, &o)
		if err := f.Parse(strings.Fields(args), io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", args, err)
		}
	}
}

// A daemon that logs JSON says in JSON too why it ended.
func TestDaemonJSON(t *testing.T) {
	code, stdout, stderr := runDaemon(t, "--log-format", "json", "--fail")
	var line struct{ Level, Msg, Error string }
	if err := json.Unmarshal([]byte(stderr), &line); err != nil || code != 1 || stdout != "" || line.Level != "ERROR" || line.Msg != "ended" || !strings.Contains(line.Error, "address in use") {
		t.Errorf("status %d, %q %q: %v", code, stdout, stderr, err)
	}
}
