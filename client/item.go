package client

import (
	"bytes"
	"fmt"
	"time"

	"github.com/kumofs/kumofs/internal/item"
)

// MaxKey is the longest key, in bytes.
const MaxKey = 250

// Item is a key and its value.
type Item struct {
	// Key is 1 to MaxKey bytes of any kind. (Through memcached's text protocol only
	// keys without spaces and control characters can be reached.)
	Key   string
	Value []byte
	// Flags are the application's, stored beside the value.
	Flags uint32
	// Expires is when the item is gone by itself, as the servers' clocks tell, in
	// whole seconds: a fraction is rounded up. Zero is never, a time that has passed
	// at once.
	Expires time.Time
	// CAS is the version of the item, for CompareAndSwap. Get, Scan and every
	// successful write set it; it grows with each change of the key's value.
	CAS uint64
}

// checkKey is nil for a key that can be stored.
func checkKey(key string) error {
	switch {
	case key == "":
		return fmt.Errorf("%w: it is empty", ErrBadKey)
	case len(key) > MaxKey:
		return fmt.Errorf("%w: %d bytes, more than %d", ErrBadKey, len(key), MaxKey)
	}
	return nil
}

// relativeLimit is the largest number of seconds that a server takes for relative.
const relativeLimit = 60 * 60 * 24 * 30

// exptime is t as requests have it.
func exptime(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	s := t.Unix()
	if t.Nanosecond() > 0 {
		s++
	}
	if s <= relativeLimit {
		return -1 // a time in 1970 would be taken for relative
	}
	return s
}

// expires is the time of an expiry in Unix seconds.
func expires(unix int64) time.Time {
	if unix == 0 {
		return time.Time{}
	}
	return time.Unix(unix, 0)
}

// newItem is what was found under key. The value is not copied.
func newItem(key string, it *item.Item) *Item {
	return &Item{Key: key, Value: it.Value, Flags: it.Flags, Expires: expires(it.Exptime), CAS: it.CAS()}
}

// own is a copy of a value, never nil.
func own(b []byte) []byte {
	if len(b) == 0 {
		return []byte{}
	}
	return bytes.Clone(b)
}
