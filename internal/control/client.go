package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
)

// answerTimeout bounds a request whose context has no deadline, unless it waits
// on purpose. Commands answer within 6 s (DESIGN.md §8).
const answerTimeout = 15 * time.Second

// Client asks one manager or server over HTTP. Errors are for a person.
type Client struct {
	addr string
	what string // "manager", "server"
	prog string
	http *http.Client
}

// NewManagerClient asks the manager at addr (numeric ip:port).
func NewManagerClient(addr string) *Client { return newClient(addr, "manager", "kumo-manager") }

// NewServerClient asks the server at addr (numeric ip:port).
func NewServerClient(addr string) *Client { return newClient(addr, "server", "kumo-server") }

func newClient(addr, what, prog string) *Client {
	t := &http.Transport{
		DialContext:        (&net.Dialer{Timeout: dialTimeout}).DialContext,
		DisableCompression: true,
		MaxIdleConns:       2,
		IdleConnTimeout:    5 * time.Second,
	}
	return &Client{addr: addr, what: what, prog: prog, http: &http.Client{Transport: t}}
}

// Addr is whom it asks.
func (c *Client) Addr() string { return c.addr }

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status is the manager's view of the cluster.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	var s Status
	return &s, c.get(ctx, PathStatus, &s)
}

// Command gives the manager a command.
func (c *Client) Command(ctx context.Context, req CommandRequest) (*CommandResponse, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	if !req.Wait {
		var cancel context.CancelFunc
		ctx, cancel = withTimeout(ctx)
		defer cancel()
	}
	b, err := c.do(ctx, http.MethodPost, PathCommand, body)
	if err != nil {
		return nil, err
	}
	var r CommandResponse
	return &r, c.decode(b, &r)
}

// Map is the cluster map that the manager or server holds.
func (c *Client) Map(ctx context.Context) (*clustermap.Map, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	b, err := c.do(ctx, http.MethodGet, PathMap, nil)
	if err != nil {
		return nil, err
	}
	m, err := clustermap.DecodeMap(b)
	if err == nil {
		err = m.Validate()
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", c.what, c.addr, err)
	}
	return m, nil
}

// Stat is a server's value of key, or all of them for "stats".
func (c *Client) Stat(ctx context.Context, key string) (*StatResponse, error) {
	var r StatResponse
	return &r, c.get(ctx, PathStat+"?key="+url.QueryEscape(key), &r)
}

func (c *Client) get(ctx context.Context, path string, v any) error {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	b, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	return c.decode(b, v)
}

func (c *Client) decode(b []byte, v any) error {
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s %s answered something that is not understood: %w", c.what, c.addr, err)
	}
	return nil
}

func (c *Client) do(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.addr+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", c.what, c.addr, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, MaxFrame))
	if err != nil {
		return nil, c.unreachable(err)
	}
	if resp.StatusCode/100 != 2 {
		var e Error
		if json.Unmarshal(b, &e) == nil && e.Error != "" {
			return nil, errors.New(e.Error)
		}
		return nil, fmt.Errorf("%s %s answered %s", c.what, c.addr, resp.Status)
	}
	return b, nil
}

// unreachable says in plain words why there was no answer.
func (c *Client) unreachable(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("cannot reach %s %s: connection refused; is %s running there?", c.what, c.addr, c.prog)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("cannot reach %s %s: no answer in time", c.what, c.addr)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("cannot reach %s %s: it closed the connection; is it %s that listens there?", c.what, c.addr, c.prog)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		if op.Timeout() {
			return fmt.Errorf("cannot reach %s %s: no answer in time", c.what, c.addr)
		}
		err = op.Err
	}
	return fmt.Errorf("cannot reach %s %s: %w", c.what, c.addr, err)
}

func withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, answerTimeout)
}
