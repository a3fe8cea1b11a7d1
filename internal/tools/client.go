package tools

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
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/secret"
)

// Deadline is how long a command may take in all when it does not --wait.
const Deadline = 6 * time.Second

// maxAnswer bounds an answer's size in bytes; a map of 32768 partitions is less.
const maxAnswer = 64 << 20

// Client asks managers and servers over HTTP.
type Client struct {
	// Kind is "manager" or "server", for error messages.
	Kind string
	// Addrs are tried in order until one can be reached.
	Addrs []string
	http  *http.Client
	dial  net.Dialer
}

// NewClient makes a client of one or several addresses, numeric ip:port.
func NewClient(kind string, addrs ...string) *Client {
	// An address that swallows packets must leave time for the next one, and
	// for an attach, which takes up to 5 s.
	dialTimeout := 3 * time.Second
	if len(addrs) > 1 {
		dialTimeout = 700 * time.Millisecond
	}
	c := &Client{Kind: kind, Addrs: addrs, dial: net.Dialer{Timeout: dialTimeout}}
	return c.WithSecret(nil)
}

// WithSecret has c prove that it has the cluster secret; nil: there is none. Before c is used.
func (c *Client) WithSecret(s *secret.Secret) *Client {
	c.http = &http.Client{Transport: &http.Transport{
		DialContext:         s.DialContext(&c.dial),
		MaxIdleConnsPerHost: 1,
		IdleConnTimeout:     time.Minute,
		DisableCompression:  true,
	}}
	return c
}

// Close drops kept connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// refusal is an answer that is not 2xx.
type refusal struct {
	status int
	msg    string
}

// Error is the words of the one who refused.
func (r *refusal) Error() string { return r.msg }

// Status asks a manager how the cluster is.
func (c *Client) Status(ctx context.Context) (*control.Status, error) {
	var status control.Status
	if err := c.getJSON(ctx, control.PathStatus, &status); err != nil {
		return nil, err
	}
	return &status, nil
}

// Map asks for the cluster map.
func (c *Client) Map(ctx context.Context) (*clustermap.Map, error) {
	body, err := c.do(ctx, http.MethodGet, control.PathMap, nil)
	if err != nil {
		return nil, err
	}
	m, err := clustermap.DecodeMap(body)
	if err != nil {
		return nil, fmt.Errorf("the %s sent a cluster map that cannot be read: %w", c.Kind, err)
	}
	return m, nil
}

// Stat asks a server for one key of kumostat; more are further parameters.
func (c *Client) Stat(ctx context.Context, key string, more url.Values) (map[string]any, error) {
	query := url.Values{"key": {key}}
	for name, values := range more {
		query[name] = values
	}
	var answer control.StatResponse
	if err := c.getJSON(ctx, control.PathStat+"?"+query.Encode(), &answer); err != nil {
		return nil, err
	}
	return answer.Values, nil
}

// LogLevel asks a daemon for the least level that it logs, and changes it before if level is not "".
func (c *Client) LogLevel(ctx context.Context, level string) (string, error) {
	var now control.LogLevelState
	if level == "" {
		err := c.getJSON(ctx, control.PathLogLevel, &now)
		return now.Level, err
	}
	body, err := json.Marshal(control.LogLevelState{Level: level})
	if err != nil {
		return "", err
	}
	if body, err = c.do(ctx, http.MethodPost, control.PathLogLevel, body); err != nil {
		return "", err
	}
	err = c.decode(body, &now)
	return now.Level, err
}

// HotKeys asks a server for the keys that it is asked for most, n reads and n writes.
func (c *Client) HotKeys(ctx context.Context, n int) (*control.HotKeys, error) {
	var hot control.HotKeys
	if err := c.getJSON(ctx, control.PathHotKeys+"?n="+strconv.Itoa(n), &hot); err != nil {
		return nil, err
	}
	return &hot, nil
}

// Command has a manager carry out a command.
func (c *Client) Command(ctx context.Context, req control.CommandRequest) (*control.CommandResponse, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	answer, err := c.do(ctx, http.MethodPost, control.PathCommand, body)
	if err != nil {
		return nil, err
	}
	var resp control.CommandResponse
	return &resp, c.decode(answer, &resp)
}

func (c *Client) getJSON(ctx context.Context, path string, v any) error {
	body, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	return c.decode(body, v)
}

// decode keeps numbers as they were written: counters have 64 bits.
func (c *Client) decode(body []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("the %s's answer cannot be read (is it a kumo-%s?): %w", c.Kind, c.Kind, err)
	}
	return nil
}

// do tries the addresses in order. Another is tried only where the first has
// certainly not carried the request out.
func (c *Client) do(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	var failures []string
	var causes []error
	for _, addr := range c.Addrs {
		answer, err := c.try(ctx, addr, method, path, body)
		if err == nil {
			return answer, nil
		}
		var refused *refusal
		if errors.As(err, &refused) && refused.status != http.StatusServiceUnavailable {
			return nil, err
		}
		failures = append(failures, fmt.Sprintf("%s %s: %s", c.Kind, addr, plain(err)))
		causes = append(causes, err)
		if ctx.Err() != nil || (method != http.MethodGet && refused == nil && !notSent(err)) {
			break
		}
	}
	return nil, &unanswered{strings.Join(failures, "; "), causes}
}

// unanswered says what each address said.
type unanswered struct {
	msg    string
	causes []error
}

// Error is a sentence for a person.
func (u *unanswered) Error() string { return u.msg }

// Unwrap lets errors.Is find why.
func (u *unanswered) Unwrap() []error { return u.causes }

// try asks one address.
func (c *Client) try(ctx context.Context, addr, method, path string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+addr+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 == 2 {
		return answer, nil
	}
	var e control.Error
	if json.Unmarshal(answer, &e) != nil || e.Error == "" {
		e.Error = fmt.Sprintf("answered %s (is it a kumo-%s?)", resp.Status, c.Kind)
	}
	return nil, &refusal{status: resp.StatusCode, msg: e.Error}
}

// notSent reports whether the request cannot have reached anybody.
func notSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// plain is an error without the layers of package net around it.
func plain(err error) string {
	var netErr net.Error
	var errno syscall.Errno
	var handshake secret.Error
	switch {
	case errors.As(err, &handshake):
		return handshake.Error()
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return "no answer in time"
	case errors.Is(err, context.Canceled):
		return "interrupted"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed without an answer"
	}
	var urlErr *url.Error
	if errors.As(err, &urlErr) {
		return urlErr.Err.Error()
	}
	return err.Error()
}
