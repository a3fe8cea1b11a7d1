package auth

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func load(t *testing.T, text string) (*Users, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(path, nil)
}

func TestCheck(t *testing.T) {
	u, err := load(t, "app:secret\n\nother:with:colons and spaces \r\n"+strings.Repeat("n", MaxUser)+":"+strings.Repeat("p", MaxPassword))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		user, password string
		want           bool
	}{
		{"app", "secret", true}, {"other", "with:colons and spaces ", true},
		{strings.Repeat("n", MaxUser), strings.Repeat("p", MaxPassword), true},
		{"app", "Secret", false}, {"app", "", false}, {"app", "secret ", false}, {"app", "secre", false},
		{"", "secret", false}, {"", "", false}, {"other", "secret", false}, {"nobody", "secret", false},
		{"other:with", "colons and spaces ", false},
		{strings.Repeat("n", MaxUser+1), "p", false}, {"app", strings.Repeat("p", MaxPassword+1), false},
	} {
		if got := u.Check([]byte(c.user), []byte(c.password)); got != c.want {
			t.Errorf("%.20q %.20q: %v", c.user, c.password, got)
		}
	}
}

func TestBadFiles(t *testing.T) {
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "user%d:secret\n", i)
		}
		return b.String()
	}
	for text, want := range map[string]string{
		"": "it has no user", "\n\r\n": "it has no user",
		"app:secret\nhidden": "line 2: it has no colon", ":hidden": "line 1: there is no user", "app:": "line 1: there is no password",
		"app:secret\n\napp:hidden":                  "line 3: the same user stands in line 1",
		strings.Repeat("n", MaxUser+1) + ":hidden":  "the user has more than 256 bytes",
		"app:" + strings.Repeat("p", MaxPassword+1): "the password has more than 256 bytes",
		"app:hid\x00den":                            "a byte 0",
		many(MaxUsers + 1):                          "line 1025: these are more than 1024 users",
		strings.Repeat("\n", maxFile+1):             "it is longer than",
	} {
		_, err := load(t, text)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "users") || strings.Contains(err.Error(), "hid") {
			t.Errorf("%.20q: %v", text, err)
		}
	}
	if u, err := load(t, many(MaxUsers)); err != nil || !u.Check([]byte("user1023"), []byte("secret")) {
		t.Error(err)
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none"), nil); err == nil {
		t.Error("a file that is not there is taken")
	}
}

func TestReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	var log bytes.Buffer
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("app:old")
	u, err := Load(path, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil || !strings.Contains(log.String(), "chmod 600") {
		t.Fatal(err, log.String())
	}
	write("app")
	if err := u.Reload(); err == nil || !u.Check([]byte("app"), []byte("old")) {
		t.Error("a bad file is taken: ", err)
	}
	write("app:new")
	if err := u.Reload(); err != nil || u.Check([]byte("app"), []byte("old")) || !u.Check([]byte("app"), []byte("new")) {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("app:secret\nother:x"), []byte("app"), []byte("secret"))
	f.Add([]byte("a:b:c\r\n"), []byte("a:b"), []byte("c"))
	f.Fuzz(func(t *testing.T, text, user, password []byte) {
		list, err := parse(text)
		if (err == nil) != (len(list) > 0) || len(list) > MaxUsers {
			t.Fatal(len(list), err)
		}
		var u Users
		u.list.Store(&list)
		line := append(append(bytes.Clone(user), ':'), password...)
		if u.Check(user, password) && !bytes.Contains(append([]byte("\n"), text...), append([]byte("\n"), line...)) {
			t.Fatalf("%q %q is let in by %q", user, password, text)
		}
	})
}
