// Package auth is memcached's file of users (memcached -Y): who may use the memcached
// port, by user and password.
//
// A line is "user:password"; the password is all behind the first colon, as memcached
// has it. Empty lines are passed over.
package auth

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/kumofs/kumofs/internal/ownfile"
)

const (
	// MaxUsers is how many lines a file may have (memcached's has eight), MaxUser and
	// MaxPassword how long, in bytes, a name and a password may be (memcached: 256 both).
	MaxUsers    = 1024
	MaxUser     = 256
	MaxPassword = 256
	maxFile     = MaxUsers * (MaxUser + MaxPassword + 3)
)

// digest is what is kept of a line: all are equally long, so that to compare them takes
// equally long.
type digest = [sha256.Size]byte

func digestOf(user, password []byte) digest {
	h := sha256.New()
	// No user has a colon in it, so the two cannot be parted otherwise.
	h.Write(user)
	h.Write([]byte(":"))
	h.Write(password)
	return digest(h.Sum(nil))
}

// Users are those of a file. All methods may be called from anywhere.
type Users struct {
	path string
	log  *slog.Logger
	list atomic.Pointer[[]digest]
}

// Load reads the file at path. log is told of a file that others can read; nil: nobody.
func Load(path string, log *slog.Logger) (*Users, error) {
	u := &Users{path: path, log: log}
	if err := u.Reload(); err != nil {
		return nil, err
	}
	return u, nil
}

// Reload reads the file again. After an error the users of before stay. Clients that are
// connected are not asked again.
func (u *Users) Reload() error {
	list, err := ownfile.Read(u.path, "the users of memcached", maxFile, u.log, parse)
	if err != nil {
		return err
	}
	u.list.Store(&list)
	return nil
}

// Check tells whether there is such a user with this password. How long it takes depends
// on the number of users, and on how long user and password are, alone.
func (u *Users) Check(user, password []byte) bool {
	if len(user) > MaxUser || len(password) > MaxPassword || bytes.IndexByte(user, ':') >= 0 {
		return false
	}
	want, found := digestOf(user, password), 0
	for _, d := range *u.list.Load() {
		found |= subtle.ConstantTimeCompare(d[:], want[:])
	}
	return found == 1
}

// parse reads the lines of a file. Its errors name a line by its number, never by what
// is in it.
func parse(text []byte) ([]digest, error) {
	var list []digest
	names := map[string]int{}
	n := 0
	for line := range bytes.Lines(text) {
		n++
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		if len(line) == 0 {
			continue
		}
		user, password, colon := bytes.Cut(line, []byte(":"))
		var err error
		switch {
		case !colon:
			err = errors.New("it has no colon: a line is user:password")
		case len(user) == 0:
			err = errors.New("there is no user before the colon")
		case len(password) == 0:
			err = errors.New("there is no password behind the colon")
		case len(user) > MaxUser:
			err = fmt.Errorf("the user has more than %d bytes", MaxUser)
		case len(password) > MaxPassword:
			err = fmt.Errorf("the password has more than %d bytes", MaxPassword)
		case bytes.IndexByte(line, 0) >= 0:
			// SASL PLAIN parts user and password by it.
			err = errors.New("it has a byte 0")
		case names[string(user)] > 0:
			err = fmt.Errorf("the same user stands in line %d already", names[string(user)])
		case len(list) == MaxUsers:
			err = fmt.Errorf("these are more than %d users", MaxUsers)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		names[string(user)] = n
		list = append(list, digestOf(user, password))
	}
	if len(list) == 0 {
		return nil, errors.New("it has no user: a line is user:password")
	}
	return list, nil
}
