package secret

import (
	"context"
	"errors"
	"io"
	"net"
	"time"
)

// Timeout bounds a handshake. The other side answers at once, or does not at all.
const Timeout = 5 * time.Second

// Dial dials addr with d and does the handshake, if there is a secret. It blocks for
// as long as d and ctx allow, and for Timeout more. An error after the connection was
// made is a *net.OpError of Op "dial" too: the caller has sent nothing.
func (s *Secret) Dial(ctx context.Context, d *net.Dialer, network, addr string) (net.Conn, error) {
	nc, err := d.DialContext(ctx, network, addr)
	if err != nil || s == nil {
		return nc, err
	}
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	err = s.client(nc)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err == nil {
		return nc, nil
	}
	nc.Close()
	if cerr := ctx.Err(); cerr != nil {
		err = cerr
	}
	s.failed(addr, err)
	return nil, &net.OpError{Op: "dial", Net: network, Addr: nc.RemoteAddr(), Err: err}
}

// DialContext is Dial in the form of http.Transport's.
func (s *Secret) DialContext(d *net.Dialer) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		return s.Dial(ctx, d, network, addr)
	}
}

// client is the dialer's handshake on nc, whose deadlines are none after it.
func (s *Secret) client(nc net.Conn) error {
	_ = nc.SetDeadline(time.Now().Add(Timeout))
	d := s.Dialer()
	if _, err := nc.Write(d.Hello()); err != nil {
		return unanswered(err)
	}
	answer := make([]byte, answerBytes)
	n, err := io.ReadFull(nc, answer)
	proof, perr := d.Answer(answer[:n])
	switch {
	case perr != nil:
		return perr
	case err != nil:
		return unanswered(err)
	}
	if _, err := nc.Write(proof); err != nil {
		return err
	}
	return nc.SetDeadline(time.Time{})
}

// unanswered is err, or what it says of the other side: a process that ends closes
// too, but one that does so after the hello hardly ever does it for that reason.
func unanswered(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrNoAnswer
	}
	return err
}

// failed says why a handshake failed where this process dialed.
func (s *Secret) failed(addr string, err error) {
	var why Error
	if s.log != nil && errors.As(err, &why) {
		s.warn.Warn(s.log, "no connection to", addr, why)
	}
}

// Opening reads the first five bytes of what the other side of nc, of which nothing was
// read, has to say; before them it does the acceptor's handshake if the other side begins
// one: then proven. It is the caller's to refuse who is not proven though s is Known. It
// leaves nc without deadlines and blocks for twice Timeout at most. After an error nc
// is to be closed; an Error says why the handshake failed, io.EOF that the other side closed
// without a byte, as one does who only wants to know whether somebody listens.
func (s *Secret) Opening(nc net.Conn) (first []byte, proven bool, err error) {
	first = make([]byte, len(Magic))
	_ = nc.SetDeadline(time.Now().Add(Timeout))
	if _, err = io.ReadFull(nc, first); err != nil {
		return nil, false, err
	}
	if string(first) == Magic {
		if err = s.serve(nc); err != nil {
			return nil, false, err
		}
		proven = true
		_ = nc.SetDeadline(time.Now().Add(Timeout))
		if _, err = io.ReadFull(nc, first); err != nil {
			return nil, false, err
		}
	}
	return first, proven, nc.SetDeadline(time.Time{})
}

// serve is the acceptor's handshake on nc, of which Magic was read.
func (s *Secret) serve(nc net.Conn) error {
	a := s.Acceptor()
	in := append(make([]byte, 0, helloBytes), Magic...)[:helloBytes]
	if _, err := io.ReadFull(nc, in[len(Magic):]); err != nil {
		return ErrIncomplete
	}
	out, _, _, err := a.Step(in)
	if _, werr := nc.Write(out); err == nil && werr != nil {
		err = werr
	}
	if err != nil {
		return err
	}
	if _, err := io.ReadFull(nc, in[:macBytes]); err != nil {
		return ErrIncomplete
	}
	_, _, _, err = a.Step(in[:macBytes])
	return err
}
