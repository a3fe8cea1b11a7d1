package cli

import (
	"bytes"
	"errors"
	"log/slog"
	"regexp"
	"testing"
	"time"
)

func TestHumanLog(t *testing.T) {
	var stdout, stderr bytes.Buffer
	log, files, err := SetupLogging(LogOptions{Verbose: true, Stdout: &stdout, Stderr: &stderr})
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	log.Info("new node", "addr", "127.0.0.1:19801", "note", "has data", "took", 1500*time.Millisecond, "n", 3)
	log.With("loop", 1).WithGroup("peer").Warn("two\nlines", "addr", "x", "err", errors.New("a=b"), slog.Group("g", "k", ""))
	log.Debug("never")
	line := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3} `)
	if got := line.ReplaceAllString(stdout.String(), ""); got != "INFO new node addr=127.0.0.1:19801 note=\"has data\" took=1.5s n=3\n" {
		t.Errorf("%q", got)
	}
	if got := line.ReplaceAllString(stderr.String(), ""); got != "WARN two lines loop=1 peer.addr=x peer.err=\"a=b\" peer.g.k=\"\"\n" {
		t.Errorf("%q", got)
	}
}

func TestQuietLog(t *testing.T) {
	var stdout, stderr bytes.Buffer
	log, files, err := SetupLogging(LogOptions{Stdout: &stdout, Stderr: &stderr})
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	log.Info("event")
	log.Error("trouble")
	if stdout.Len() != 0 || bytes.Count(stderr.Bytes(), []byte("\n")) != 1 {
		t.Errorf("stdout %q, stderr %q", stdout.String(), stderr.String())
	}
	if _, _, err := SetupLogging(LogOptions{File: "/nonexistent/x"}); err == nil {
		t.Error("a log that cannot be opened was taken")
	}
}
