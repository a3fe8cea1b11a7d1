package secret

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
)

// Magic opens every connection between processes that have a secret.
const Magic = "KMSC\x01"

const (
	answerMagic = "KMSA\x01"
	nonceBytes  = 32
	helloBytes  = len(Magic) + idBytes + nonceBytes
	answerBytes = len(answerMagic) + 1 + nonceBytes + macBytes

	dialerRole   = "kumofs cluster secret 1: who dials\x00"
	acceptorRole = "kumofs cluster secret 1: who accepts\x00"
)

// What an answer says.
const (
	statusProof   = 0
	statusUnknown = 1 // none of the acceptor's keys has this ID
	statusNone    = 2 // the acceptor has no secret
)

// Error is why a handshake failed, in words for a person, said of the other side.
type Error string

// Error is the words.
func (e Error) Error() string { return string(e) }

// Why a handshake fails: the first five where this process dialed, the others
// where it accepted.
const (
	ErrNone     Error = "it has no cluster secret, but this process has: both need the same --cluster-secret-file"
	ErrOther    Error = "it has another cluster secret: both need the same --cluster-secret-file"
	ErrFalse    Error = "it does not prove that it has the cluster secret"
	ErrNoAnswer Error = "it closed the connection in the handshake of the cluster secret, or answered something else: is it a kumofs of this version?"
	ErrSilent   Error = "it has not answered in the handshake of the cluster secret in time"

	ErrMissing    Error = "it comes without the cluster secret: it needs the same --cluster-secret-file"
	ErrUnasked    Error = "it comes with a cluster secret, but this process has none: both need the same --cluster-secret-file"
	ErrUnknown    Error = "it comes with another cluster secret: both need the same --cluster-secret-file"
	ErrIncomplete Error = "it does not complete the handshake of the cluster secret"
)

func (k *key) proof(role string, dialer, acceptor []byte) []byte {
	h := hmac.New(sha256.New, k.mac)
	h.Write([]byte(role))
	h.Write(dialer)
	h.Write(acceptor)
	return h.Sum(nil)
}

// nonce is random; crypto/rand never fails.
func nonce() (n [nonceBytes]byte) {
	_, _ = rand.Read(n[:])
	return n
}

// Dialer is the half of a handshake of who dialed.
type Dialer struct {
	key   key
	nonce [nonceBytes]byte
}

// Dialer begins a handshake with the first key. The Secret must not be nil.
func (s *Secret) Dialer() *Dialer { return &Dialer{key: s.all()[0], nonce: nonce()} }

// Hello is what is sent first.
func (d *Dialer) Hello() []byte {
	b := append([]byte(Magic), d.key.id[:]...)
	return append(b, d.nonce[:]...)
}

// Answer looks at the answer, of which in is the beginning, and returns what is to be
// sent then: the other side is proven. Nil without an error: in is too short.
// Nobody says anything after an answer before he has the proof, so in must be no longer.
func (d *Dialer) Answer(in []byte) (proof []byte, err error) {
	n := min(len(in), len(answerMagic))
	if string(in[:n]) != answerMagic[:n] || len(in) > answerBytes {
		return nil, ErrNoAnswer
	}
	if len(in) < answerBytes {
		return nil, nil
	}
	in = in[n:]
	switch in[0] {
	case statusProof:
	case statusNone:
		return nil, ErrNone
	case statusUnknown:
		return nil, ErrOther
	default:
		return nil, ErrNoAnswer
	}
	theirs, claim := in[1:1+nonceBytes], in[1+nonceBytes:]
	if !hmac.Equal(claim, d.key.proof(acceptorRole, d.nonce[:], theirs)) {
		return nil, ErrFalse
	}
	return d.key.proof(dialerRole, d.nonce[:], theirs), nil
}

// Acceptor is the half of who was dialed.
type Acceptor struct {
	keys   []key
	expect []byte // the proof; nil before the hello
}

// Acceptor begins a handshake. Of a nil Secret it refuses every hello, and tells
// the dialer why.
func (s *Secret) Acceptor() *Acceptor { return &Acceptor{keys: s.all()} }

// Step takes input that begins with what comes next and returns how much of it it
// used, 0: in is too short; and what is to be sent, also with an error, after which
// the connection is to be closed. done: the other side is proven.
func (a *Acceptor) Step(in []byte) (out []byte, used int, done bool, err error) {
	if a.expect == nil {
		n := min(len(in), len(Magic))
		switch {
		case string(in[:n]) != Magic[:n]:
			return nil, 0, false, ErrMissing
		case len(in) < helloBytes:
			return nil, 0, false, nil
		}
		out, err = a.hello(in[n:helloBytes])
		return out, helloBytes, false, err
	}
	if len(in) < macBytes {
		return nil, 0, false, nil
	}
	if !hmac.Equal(in[:macBytes], a.expect) {
		return nil, macBytes, false, ErrFalse
	}
	return nil, macBytes, true, nil
}

func (a *Acceptor) hello(in []byte) (out []byte, err error) {
	refuse := func(status byte, why Error) ([]byte, error) {
		out := append([]byte(answerMagic), status)
		return append(out, make([]byte, nonceBytes+macBytes)...), why
	}
	if len(a.keys) == 0 {
		return refuse(statusNone, ErrUnasked)
	}
	id, theirs := [idBytes]byte(in), in[idBytes:]
	for i := range a.keys {
		k := &a.keys[i]
		if k.id != id { // an ID is no secret
			continue
		}
		ours := nonce()
		a.expect = k.proof(dialerRole, theirs, ours[:])
		out = append([]byte(answerMagic), statusProof)
		out = append(out, ours[:]...)
		return append(out, k.proof(acceptorRole, theirs, ours[:])...), nil
	}
	return refuse(statusUnknown, ErrUnknown)
}
