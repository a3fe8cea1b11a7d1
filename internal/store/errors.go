package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
)

// The kinds of error. Every error of this package is one sentence for a person
// and matches one of these by errors.Is.
var (
	// ErrInUse: another process, or this one, has the store open.
	ErrInUse = errors.New("store in use by another process")
	// ErrNotStore: the path holds something that is not a store.
	ErrNotStore = errors.New("not a store")
	// ErrTokyoCabinet: the path is a database file of the original kumofs.
	ErrTokyoCabinet = errors.New("Tokyo Cabinet file of the original kumofs")
	// ErrPermission: the path cannot be read or written by this user.
	ErrPermission = errors.New("permission denied")
	// ErrNewerFormat: a newer version of kumofs wrote the store.
	ErrNewerFormat = errors.New("store has a newer format")
	// ErrCorrupt: what is on disk contradicts itself.
	ErrCorrupt = errors.New("store is corrupted")
	// ErrDiskFull: the write was not done for want of space. It goes away by
	// itself when there is space again; reads go on meanwhile.
	ErrDiskFull = errors.New("disk full")
	// ErrIO: the disk failed. A Commit that returned it may or may not have
	// been done. Store.Health tells whether the store can go on.
	ErrIO = errors.New("disk error")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store is closed")
	// ErrReadOnly: the store was opened to be read only.
	ErrReadOnly = errors.New("store is open read-only")
)

// kindError is a sentence with a kind (one of the errors above) and a cause.
type kindError struct {
	kind, cause error
	text        string
}

func (e *kindError) Error() string { return e.text }

// Unwrap lets errors.Is find the kind and the cause.
func (e *kindError) Unwrap() []error {
	if e.cause == nil {
		return []error{e.kind}
	}
	return []error{e.kind, e.cause}
}

// errorf makes an error of a kind; cause may be nil and is appended to the text.
func errorf(kind, cause error, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if cause != nil {
		text += ": " + cause.Error()
	}
	return &kindError{kind: kind, cause: cause, text: text}
}

// isNoSpace tells a full disk (or an exhausted quota) from other errors.
func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// ioError gives an error of the disk its kind. nil stays nil, and an error
// that has a kind keeps it; that nobody waits any more is none of the disk.
func ioError(err error, doing string) error {
	var ke *kindError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &ke), errors.Is(err, context.Canceled):
		return err
	case isNoSpace(err):
		return errorf(ErrDiskFull, err, "%s: disk full", doing)
	case pebble.IsCorruptionError(err):
		return errorf(ErrCorrupt, err, "%s: the store is corrupted", doing)
	case errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS):
		return errorf(ErrPermission, err, "%s", doing)
	default:
		return errorf(ErrIO, err, "%s: disk error", doing)
	}
}
