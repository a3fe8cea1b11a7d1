package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kumofs/kumofs/test/e2e/harness"
)

// dialog sends in and gives all that is answered until the server closes.
func dialog(addr, in string) (string, error) {
	c, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(15 * time.Second))
	if _, err := io.WriteString(c, in); err != nil {
		return "", err
	}
	b, err := io.ReadAll(c)
	return string(b), err
}

// TestAuthFile: with a file of users a memcached port, of a gateway and of a server,
// serves whoever tells a user and password of it, in text and over SASL PLAIN, and
// nobody else; the file can be changed while they run.
func TestAuthFile(t *testing.T) {
	t.Parallel()
	users := filepath.Join(t.TempDir(), "users")
	write := func(text string) {
		if err := os.WriteFile(users, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("app:secret\nother:word\n")
	opt := options(1)
	opt.Text = true
	opt.ServerArgs, opt.GatewayArgs = []string{"--auth-file", users}, []string{"--auth-file", users}
	c := harness.Start(t, opt)

	header := func(opcode byte, key, value string) string {
		n := byte(len(key) + len(value))
		return "\x80" + string(opcode) + "\x00" + string(byte(len(key))) + "\x00\x00\x00\x00\x00\x00\x00" + string(n) + strings.Repeat("\x00", 12) + key + value
	}
	const quit = "quit\r\n"
	login := func(user, password string) string {
		return fmt.Sprintf("set x 0 0 %d\r\n%s %s\r\n", len(user)+len(password)+1, user, password)
	}
	no := "CLIENT_ERROR unauthenticated\r\n"
	for _, addr := range []string{c.Gateway.Addr, c.Text(c.Servers[0])} {
		for in, want := range map[string]string{
			"get k\r\nset k 0 0 1\r\nx\r\nstats\r\n" + quit:                       no + "CLIENT_ERROR bad authentication token format\r\n" + no,
			login("app", "wrong") + "get k\r\n" + quit:                            "CLIENT_ERROR authentication failure\r\n" + no,
			login("other", "word") + "set k 0 0 1\r\nv\r\nget k\r\nmn\r\n" + quit: "STORED\r\nSTORED\r\nVALUE k 0 1\r\nv\r\nEND\r\nMN\r\n",
		} {
			if got, err := dialog(addr, in); err != nil || got != want {
				t.Errorf("%s, %q: %q %v, want %q", addr, in, got, err, want)
			}
		}
		got, err := dialog(addr, header(0x21, "PLAIN", "\x00app\x00secret")+header(0, "k", "")+header(0x17, "", ""))
		if err != nil || !strings.Contains(got, "Authenticated") || !strings.HasSuffix(got, "v") {
			t.Errorf("%s, SASL: %q %v", addr, got, err)
		}
		if got, err = dialog(addr, header(0x21, "PLAIN", "\x00app\x00wrong")+header(0, "k", "")); err != nil || strings.Count(got, "Auth failure.") != 2 {
			t.Errorf("%s, SASL with a wrong password: %q %v", addr, got, err)
		}
	}
	write("app:changed\n")
	if err := syscall.Kill(c.Gateway.PID(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	harness.Until(t, 10*time.Second, "the new password counts", func() error {
		got, err := dialog(c.Gateway.Addr, login("app", "changed")+quit)
		if err == nil && got != "STORED\r\n" {
			err = fmt.Errorf("%q", got)
		}
		return err
	})
	if got, _ := dialog(c.Gateway.Addr, login("app", "secret")+quit); got != "CLIENT_ERROR authentication failure\r\n" {
		t.Errorf("the old password: %q", got)
	}
}
