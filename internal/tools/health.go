package tools

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/control"
)

// healthBytes bounds what is read of an answer.
const healthBytes = 4 << 10

// Health is `kumofs health`: what a container without a shell asks its daemon with.
func Health(ctx context.Context, args []string, out io.Writer) error {
	f := cli.NewFlags("kumofs health", "ADDR:PORT [flags]")
	f.About("Asks a daemon for its health: a manager or server at its port, a gateway at that of\n--http. Exit status 0 if it is well, else 1, and the reason is printed.")
	path := f.String("", "path", "URLPATH", control.PathHealth, "what to ask for")
	timeout := f.Seconds("", "timeout", 5*time.Second, "how long to wait for the answer")
	openSecret := SecretFlag(f)
	if err := f.Parse(args, out); err != nil {
		return err
	}
	if len(f.Args()) != 1 {
		return f.UsageError("needs one address")
	}
	if !strings.HasPrefix(*path, "/") {
		return f.UsageError("%s", f.BadValue("path", *path, fmt.Errorf("must begin with /")))
	}
	if _, port, err := net.SplitHostPort(f.Args()[0]); err != nil || port == "" {
		return f.UsageError("address %q needs a port", f.Args()[0])
	}
	addr, err := cli.ResolveAddr(f.Args()[0], cli.ServerPort)
	if err != nil {
		return f.UsageError("%s", err)
	}
	sec, err := openSecret()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DialContext: sec.DialContext(new(net.Dialer)), DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+*path, nil)
	if err != nil {
		return f.UsageError("%s", f.BadValue("path", *path, err))
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("%s does not answer: %s", addr, plain(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, healthBytes))
	if err != nil {
		return fmt.Errorf("%s does not answer: %s", addr, plain(err))
	}
	said := strings.TrimSpace(string(body))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s is not well: %s: %s", addr, resp.Status, said)
	}
	fmt.Fprintln(out, said)
	return nil
}
