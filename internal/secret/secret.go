// Package secret is how kumofs processes know each other: a secret that all of a
// cluster are given in a file (--cluster-secret-file), and a handshake at the
// opening of every connection between them by which each side proves to the other
// that it has it, before any other byte is looked at.
//
// It keeps out who has not got the secret. It does not encrypt: who can alter the
// packets of a connection that others opened can alter what it carries. Where that
// is a danger the network between the daemons has to be a VPN (WireGuard).
//
//	dialer                                      acceptor
//	"KMSC\x01", ID of a key, nonce        ->
//	                                      <-    "KMSA\x01", status, nonce, proof
//	proof, and at once what it has to say ->
//
// A proof is HMAC-SHA256 over who proves (lest a proof be sent back to where it came
// from) and both nonces. Keys and their IDs are made of a line of the file by HKDF.
// handshake.go is pure; net.go and loop.go carry it over the two kinds of connections.
//
// A nil *Secret is none: it dials without a handshake and takes all who come
// without.
package secret

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/kumofs/kumofs/internal/ownfile"
)

const (
	// MinBytes is how long a secret is at least.
	MinBytes = 16
	// maxFile bounds the file in bytes, maxKeys its lines.
	maxFile = 64 << 10
	maxKeys = 16

	idBytes  = 8
	macBytes = sha256.Size
)

// key is made of one line. Its ID goes over the wire in the clear.
type key struct {
	id  [idBytes]byte
	mac []byte
}

// Secret is what a process knows. All methods may be called from anywhere.
type Secret struct {
	path string
	log  *slog.Logger // nil: what goes wrong is the caller's to say
	warn Warner
	keys atomic.Pointer[[]key] // not empty
}

// Load reads the file at path. With log, handshakes that fail where this process
// dialed are said there now and then, and so is a file that others can read.
func Load(path string, log *slog.Logger) (*Secret, error) {
	s := &Secret{path: path, log: log}
	if err := s.Reload(); err != nil {
		return nil, err
	}
	return s, nil
}

// New makes one of lines, as a file has them; log as with Load.
func New(log *slog.Logger, lines ...string) (*Secret, error) {
	var text []byte
	for _, l := range lines {
		text = append(append(text, l...), '\n')
	}
	keys, err := parse(text)
	if err != nil {
		return nil, err
	}
	s := &Secret{log: log}
	s.keys.Store(&keys)
	return s, nil
}

// Reload reads the file again. After an error what was known before stays.
// Connections that are open stay open.
func (s *Secret) Reload() error {
	keys, err := ownfile.Read(s.path, "the cluster secret", maxFile, s.log, parse)
	if err != nil {
		return err
	}
	s.keys.Store(&keys)
	return nil
}

// errLines says how a file is made that is as it has to be.
var errLines = fmt.Errorf("a secret is a line of text of %d bytes or more, as made by: head -c 32 /dev/urandom | base64", MinBytes)

// parse reads the lines of a file: the first is used to dial, all are accepted.
func parse(text []byte) ([]key, error) {
	var keys []key
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		switch {
		case len(line) == 0:
			continue
		case len(line) < MinBytes:
			return nil, fmt.Errorf("a line has %d bytes: %w", len(line), errLines)
		case len(keys) == maxKeys:
			return nil, fmt.Errorf("it has more than %d secrets", maxKeys)
		}
		k, err := derive(line)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("it is empty: %w", errLines)
	}
	return keys, nil
}

func derive(line []byte) (k key, err error) {
	id, err1 := hkdf.Key(sha256.New, line, nil, "kumofs cluster secret 1: id", idBytes)
	mac, err2 := hkdf.Key(sha256.New, line, nil, "kumofs cluster secret 1: proof", macBytes)
	copy(k.id[:], id)
	k.mac = mac
	return k, errors.Join(err1, err2)
}

// Known tells whether there is a secret at all.
func (s *Secret) Known() bool { return s != nil }

// all are the keys; none of a nil Secret.
func (s *Secret) all() []key {
	if s == nil {
		return nil
	}
	return *s.keys.Load()
}
