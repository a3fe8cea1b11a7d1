package control

import (
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/kumofs/kumofs/internal/secret"
)

const (
	// sniffsAtOnce bounds connections that have not shown it yet.
	sniffsAtOnce = 512
	sniffBytes   = 5
)

// httpMethods are what HTTP requests begin with, cut to sniffBytes.
var httpMethods = []string{"GET /", "POST ", "PUT /", "HEAD ", "DELET", "OPTIO", "PATCH"}

// Mux tells the connections of one listening port apart by their first bytes.
// Connections that show nothing within 5 s (secret.Timeout), or nothing known, are closed; none
// holds up another.
type Mux struct {
	inner  net.Listener
	secret *secret.Secret
	log    *slog.Logger
	warn   secret.Warner
	mu     sync.Mutex
	routes map[string]*branch
	slots  chan struct{}
	done   chan struct{}
	once   sync.Once
}

// NewMux takes l over. Routes are added before Serve. With a secret only those get
// through who prove that they have it, and HTTP (see Guard); log is told of others.
func NewMux(l net.Listener, sec *secret.Secret, log *slog.Logger) *Mux {
	return &Mux{inner: l, secret: sec, log: log, routes: map[string]*branch{}, slots: make(chan struct{}, sniffsAtOnce), done: make(chan struct{})}
}

// Magic is a listener for connections that begin with these five bytes, which it leaves in place.
func (m *Mux) Magic(first string) net.Listener { return m.route(first) }

// HTTP is a listener for connections that begin with an HTTP method.
func (m *Mux) HTTP() net.Listener { return m.route(httpMethods...) }

func (m *Mux) route(first ...string) net.Listener {
	b := &branch{m: m, ready: make(chan net.Conn), done: make(chan struct{})}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range first {
		if len(f) != sniffBytes {
			panic("control: a route is five bytes: " + f)
		}
		m.routes[f] = b
	}
	return b
}

// Serve accepts until the listener is closed.
func (m *Mux) Serve() error {
	pause := time.Millisecond
	for {
		c, err := m.inner.Accept()
		if err != nil {
			select {
			case <-m.done:
				return nil
			default:
			}
			if errors.Is(err, net.ErrClosed) {
				m.Close()
				return err
			}
			// Out of file descriptors, most likely: it passes.
			time.Sleep(pause)
			pause = min(2*pause, time.Second)
			continue
		}
		pause = time.Millisecond
		select {
		case m.slots <- struct{}{}:
			go m.sniff(c)
		default:
			c.Close()
		}
	}
}

func (m *Mux) sniff(c net.Conn) {
	stop := make(chan struct{})
	go func() {
		select {
		case <-m.done:
			c.Close()
		case <-stop:
		}
	}()
	first, proven, err := m.secret.Opening(c)
	close(stop)
	<-m.slots
	m.mu.Lock()
	b := m.routes[string(first)]
	m.mu.Unlock()
	var why secret.Error
	switch {
	case errors.As(err, &why):
	case err == nil && !proven && m.secret.Known() && !IsHTTP(first):
		why = secret.ErrMissing
	}
	if why != "" {
		m.warn.Warn(m.log, "refused a connection from", c.RemoteAddr().String(), why)
	}
	switch {
	case why == secret.ErrMissing && string(first) == Magic:
		refuseLink(c)
		return
	case why != "" || err != nil || b == nil:
		c.Close()
		return
	}
	select {
	case b.ready <- &sniffed{Conn: c, first: first, proven: proven}:
	case <-b.done:
		c.Close()
	case <-m.done:
		c.Close()
	}
}

// Close ends the port and every route; connections handed out live on.
func (m *Mux) Close() error {
	var err error
	m.once.Do(func() {
		close(m.done)
		err = m.inner.Close()
	})
	return err
}

// Addr is the port's.
func (m *Mux) Addr() net.Addr { return m.inner.Addr() }

// branch is one route's listener.
type branch struct {
	m     *Mux
	ready chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (b *branch) Accept() (net.Conn, error) {
	select {
	case c := <-b.ready:
		return c, nil
	case <-b.done:
	case <-b.m.done:
	}
	return nil, net.ErrClosed
}

func (b *branch) Close() error {
	b.once.Do(func() { close(b.done) })
	return nil
}

func (b *branch) Addr() net.Addr { return b.m.inner.Addr() }

// sniffed is a connection whose first bytes have been read.
type sniffed struct {
	net.Conn
	first  []byte
	proven bool
}

func (s *sniffed) isProven() bool { return s.proven }

func (s *sniffed) Read(b []byte) (int, error) {
	if len(s.first) > 0 {
		n := copy(b, s.first)
		s.first = s.first[n:]
		return n, nil
	}
	return s.Conn.Read(b)
}

// IsHTTP tells whether these bytes begin an HTTP request.
func IsHTTP(first []byte) bool {
	for _, m := range httpMethods {
		if strings.HasPrefix(string(first), m) {
			return true
		}
	}
	return false
}
