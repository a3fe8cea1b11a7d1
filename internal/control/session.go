package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Session is a manager's end of a link. Its methods may be called from anywhere
// and never block.
type Session struct {
	Hello  Hello
	Remote string
	p      *pipe
}

// Accept reads Magic and Hello of a new link. It blocks for 5 s at most.
func Accept(nc net.Conn) (*Session, error) {
	nc.SetReadDeadline(time.Now().Add(handshakeTimeout))
	magic := make([]byte, len(Magic))
	if _, err := io.ReadFull(nc, magic); err != nil || string(magic) != Magic {
		nc.Close()
		return nil, errors.New("control: not a member's link")
	}
	p := newPipe(nc)
	k, b, err := p.read(handshakeTimeout)
	if err == nil && k != KindHello {
		err = fmt.Errorf("the first frame is of kind %d", k)
	}
	s := &Session{p: p, Remote: nc.RemoteAddr().String()}
	if err == nil {
		err = json.Unmarshal(b, &s.Hello)
	}
	if err == nil && s.Hello.Role != RoleServer && s.Hello.Role != RoleGateway {
		err = fmt.Errorf("unknown role %q", s.Hello.Role)
	}
	if err != nil {
		p.close(err)
		return nil, fmt.Errorf("control: link from %s: %w", s.Remote, err)
	}
	return s, nil
}

// Send queues a whole frame (Frame, AppendFrame).
func (s *Session) Send(frame []byte) bool { return s.p.send(frame) }

// Refuse sends r and closes the link after it.
func (s *Session) Refuse(r Refuse) {
	s.p.send(Frame(KindRefuse, r))
	s.p.finish()
}

// Receive returns the next frame.
func (s *Session) Receive(timeout time.Duration) (Kind, []byte, error) { return s.p.read(timeout) }

// Close ends the link.
func (s *Session) Close() { s.p.close(net.ErrClosed) }

// Done is closed when the link has ended.
func (s *Session) Done() <-chan struct{} { return s.p.done }
