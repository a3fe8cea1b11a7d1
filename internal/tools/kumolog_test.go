package tools

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kumofs/kumofs/internal/testlog"
)

const someLog = `{"time":"2026-11-22T10:30:00.123456Z","level":"INFO","msg":"server connected","addr":"127.0.0.1:19801","n":3}
{"time":"2026-11-22T10:30:01Z","level":"WARN","msg":"lost node","addr":"127.0.0.1:19801","why":"no answer","g":{"a":1}}
panic: oh
{"time":"2026-11-22T10:30:02Z","level":"ERROR","msg":"ended","error":""}
`

func TestKumolog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte(someLog), 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	const (
		first  = "2026-11-22T19:30:00.123 INFO server connected addr=127.0.0.1:19801 n=3\n"
		second = "2026-11-22T19:30:01.000 WARN lost node addr=127.0.0.1:19801 why=\"no answer\" g={\"a\":1}\n"
		trace  = "panic: oh\n"
		last   = "2026-11-22T19:30:02.000 ERROR ended error=\"\"\n"
	)
	for args, want := range map[string]string{
		"":              first + second + trace + last,
		"-l warn":       second + trace + last,
		"--level error": trace + last,
		"-n 1":          last,
		"--head -n 2":   first + second, "--head": first + second + trace + last, "-t -n 1": last,
		"-n 3":              second + trace + last,
		"-e node":           second + trace,
		"--json -n 1":       strings.Split(someLog, "\n")[3] + "\n",
		"-n 9 -e connected": first + trace,
	} {
		check(t, Kumolog(t.Context(), append([]string{path}, strings.Fields(args)...), &out), &out, "", want)
	}
	for _, args := range []string{"", path + " -l loud", path + " " + path + " -f"} {
		if err := Kumolog(t.Context(), strings.Fields(args), &out); !isUsage(err) {
			t.Errorf("%q: %v", args, err)
		}
	}
	if err := Kumolog(t.Context(), []string{path + "x"}, &out); err == nil || isUsage(err) {
		t.Error(err)
	}
}

// The last line of a log that was cut short counts as the others do.
func TestKumologUnendedLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte("one\ntwo\nthree"), 0o644); err != nil {
		t.Fatal(err)
	}
	stdin := os.Stdin
	t.Cleanup(func() { os.Stdin = stdin })
	for args, want := range map[string]string{
		"": "one\ntwo\nthree\n", "-n 1": "three\n", "-n 2": "two\nthree\n", "--head -n 2": "one\ntwo\n",
	} {
		for _, from := range []string{path, "-"} {
			file, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			os.Stdin = file
			var out bytes.Buffer
			err = Kumolog(t.Context(), append([]string{from}, strings.Fields(args)...), &out)
			file.Close()
			check(t, err, &out, "", want)
		}
	}
}

func TestKumologFollows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	add := func(text string) {
		t.Helper()
		file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err == nil {
			_, err = file.WriteString(text)
			file.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	add("one\ntwo\nthr")
	var out testlog.Buffer
	prints := func(want string) {
		t.Helper()
		out.Becomes(t, want, func(all string) bool { return all == want })
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- Kumolog(ctx, []string{"-f", "-n", "1", path}, &out) }()
	prints("two\n")
	add("ee\nfour\n")
	prints("two\nthree\nfour\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	add("five\n")
	prints("two\nthree\nfour\nfive\n")
	if err := os.WriteFile(path, []byte("6\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	prints("two\nthree\nfour\nfive\n6\n")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
