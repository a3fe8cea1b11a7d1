package server

import (
	"errors"

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/secret"
)

// greet does the handshake of the cluster secret on an accepted connection, whose input
// begins with b, and returns how much of b it took. HTTP alone is let through without
// the secret: control.Guard answers it. Without a secret only who brings one is refused.
func (c *dataConn) greet(b []byte) (used int) {
	sec := c.n.cfg.Secret
	if c.acceptor == nil {
		hello := len(b) >= len(secret.Magic) && string(b[:len(secret.Magic)]) == secret.Magic
		switch {
		case len(b) < len(secret.Magic) && b[0] >= 'A' && b[0] <= 'Z':
			return 0 // too little to tell
		case !hello && sec.Known() && !control.IsHTTP(b):
			c.refuse(nil, secret.ErrMissing)
			return len(b)
		case !hello:
			c.passed = true
			return 0
		}
		c.acceptor = sec.Acceptor()
	}
	for !c.passed {
		out, n, done, err := c.acceptor.Step(b[used:])
		used += n
		if err != nil {
			c.refuse(out, err)
			return len(b)
		}
		c.conn.Write(out)
		if done {
			c.passed, c.proven, c.acceptor = true, true, nil
		} else if n == 0 {
			break
		}
	}
	return used
}

// refuse closes after out. sniff still bounds how long that takes.
func (c *dataConn) refuse(out []byte, why error) {
	c.n.refused(c.conn.RemoteAddr(), why)
	c.conn.Write(out)
	c.conn.CloseAfterFlush()
}

// refused says why a connection was refused, if err is about the cluster secret: true.
func (n *node) refused(addr string, err error) bool {
	var why secret.Error
	if !errors.As(err, &why) {
		return false
	}
	n.warner.Warn(n.log, "refused a connection from", addr, why)
	return true
}
