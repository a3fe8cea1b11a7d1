package consensus

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kumofs/kumofs/internal/secret"
)

// StreamMagic opens every connection between managers, so that the shared
// listening port can tell it from others.
const StreamMagic = "KMRF\x01"

const (
	handshakeTimeout = 5 * time.Second
	handshakeMost    = 4096
	handshakesAtOnce = 64
)

// Names are what a connection's handshake is checked against. An empty string
// is "not known yet" and is not checked: a blank node learns its cluster later.
type Names struct {
	Self    string                   // this node's ID
	Cluster func() string            // the cluster's ID
	Peer    func(addr string) string // the ID of the node that should be at addr
	// Secret is the cluster's, nil: none. Who dials proves that he has it; who is dialed is
	// asked for it by the port that hands the connections on.
	Secret *secret.Secret
}

type handshake struct {
	Cluster, From, To string
}

// Layer is raft.StreamLayer over connections that a demultiplexer hands it. The
// dialer names cluster, sender and receiver, and is refused if they are not
// those of the receiver: a manager with a wiped directory is a new one (§5).
type Layer struct {
	inner net.Listener // connections that begin with StreamMagic
	addr  string
	names Names
	ready chan net.Conn
	done  chan struct{}

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]struct{} // all that are open, both ways
}

// NewLayer serves connections of inner, whose first bytes are StreamMagic.
// advertise is the address under which others know this node.
func NewLayer(inner net.Listener, advertise string, names Names) *Layer {
	l := &Layer{inner: inner, addr: advertise, names: names, ready: make(chan net.Conn), done: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	go l.serve()
	return l
}

func (l *Layer) serve() {
	slots := make(chan struct{}, handshakesAtOnce)
	for {
		c, err := l.inner.Accept()
		if err != nil {
			l.Close()
			return
		}
		select {
		case slots <- struct{}{}:
		default:
			c.Close()
			continue
		}
		go func() {
			defer func() { <-slots }()
			c, ok := l.track(c)
			if !ok {
				return
			}
			if err := l.greet(c); err != nil {
				c.Close()
				return
			}
			select {
			case l.ready <- c:
			case <-l.done:
				c.Close()
			}
		}()
	}
}

// tracked is a connection that Close of its Layer closes too.
type tracked struct {
	net.Conn
	l *Layer
}

// Close is net.Conn's.
func (t *tracked) Close() error {
	t.l.mu.Lock()
	delete(t.l.conns, t)
	t.l.mu.Unlock()
	return t.Conn.Close()
}

// track closes c if the Layer is closed.
func (l *Layer) track(c net.Conn) (net.Conn, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		c.Close()
		return nil, false
	}
	t := &tracked{c, l}
	l.conns[t] = struct{}{}
	return t, true
}

// greet is the receiver's half of the handshake.
func (l *Layer) greet(c net.Conn) error {
	c.SetDeadline(time.Now().Add(handshakeTimeout))
	magic := make([]byte, len(StreamMagic))
	if _, err := io.ReadFull(c, magic); err != nil || string(magic) != StreamMagic {
		return errors.New("not a manager's connection")
	}
	b, err := readFrame(c)
	if err != nil {
		return err
	}
	var h handshake
	reason := ""
	if err := json.Unmarshal(b, &h); err != nil {
		reason = "the handshake is damaged"
	} else if own := l.names.Cluster(); h.Cluster != "" && own != "" && h.Cluster != own {
		reason = fmt.Sprintf("it names cluster %s, but this manager's is %s", h.Cluster, own)
	} else if h.To != "" && h.To != l.names.Self {
		reason = fmt.Sprintf("it is for manager %s, but this is %s", h.To, l.names.Self)
	}
	if err := writeFrame(c, nil, []byte(reason)); err != nil {
		return err
	}
	if reason != "" {
		return errors.New(reason)
	}
	return c.SetDeadline(time.Time{})
}

// Dial is the sender's half.
func (l *Layer) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	if timeout <= 0 {
		timeout = handshakeTimeout
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	nc, err := l.names.Secret.Dial(ctx, new(net.Dialer), "tcp", string(addr))
	if err != nil {
		return nil, err
	}
	c, ok := l.track(nc)
	if !ok {
		return nil, net.ErrClosed
	}
	if err := l.present(c, string(addr), timeout); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (l *Layer) present(c net.Conn, addr string, timeout time.Duration) error {
	c.SetDeadline(time.Now().Add(timeout))
	b, err := json.Marshal(handshake{Cluster: l.names.Cluster(), From: l.names.Self, To: l.names.Peer(addr)})
	if err != nil {
		return err
	}
	if err := writeFrame(c, []byte(StreamMagic), b); err != nil {
		return err
	}
	reason, err := readFrame(c)
	if err != nil {
		return err
	}
	if len(reason) > 0 {
		return fmt.Errorf("manager %s refused the connection: %s", addr, reason)
	}
	return c.SetDeadline(time.Time{})
}

// Accept is net.Listener's: a connection whose handshake is done.
func (l *Layer) Accept() (net.Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close is net.Listener's; it closes every connection too, so that nothing
// leaves any more when it returns.
func (l *Layer) Close() error {
	l.mu.Lock()
	was, conns := l.closed, l.conns
	l.closed, l.conns = true, map[net.Conn]struct{}{}
	l.mu.Unlock()
	if was {
		return nil
	}
	close(l.done)
	for c := range conns {
		c.Close()
	}
	return l.inner.Close()
}

// Addr is net.Listener's.
func (l *Layer) Addr() net.Addr { return address(l.addr) }

// address is a net.Addr of an "ip:port".
type address string

// Network is net.Addr's.
func (address) Network() string { return "tcp" }

// String is net.Addr's.
func (a address) String() string { return string(a) }

func writeFrame(w io.Writer, prefix, b []byte) error {
	out := append(prefix[:len(prefix):len(prefix)], 0, 0)
	binary.BigEndian.PutUint16(out[len(prefix):], uint16(len(b)))
	_, err := w.Write(append(out, b...))
	return err
}

func readFrame(r io.Reader) ([]byte, error) {
	var n [2]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint16(n[:])
	if size > handshakeMost {
		return nil, errors.New("handshake too long")
	}
	b := make([]byte, size)
	_, err := io.ReadFull(r, b)
	return b, err
}
