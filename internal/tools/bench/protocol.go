package bench

import (
	"bytes"
	"fmt"
)

// A protocol turns operations into bytes and answers into tallies.
type protocol interface {
	// appendGet asks for all keys in one request.
	appendGet(b []byte, keys []uint64) []byte
	// appendSet stores one value.
	appendSet(b []byte, key uint64, size int, count uint32) []byte
	// parse reads the next piece of an operation's answer from the beginning of b and
	// tells how long it is: 0 if not all of it is there. done: it was the last piece.
	// An error means that what follows cannot be told apart either.
	parse(b []byte, o *op, t *tally) (n int, done bool, err error)
}

// Protocols are the names of those there are.
var Protocols = []string{"text", "meta", "binary", "redis"}

func protocolOf(name string) (protocol, error) {
	switch name {
	case "text":
		return text{}, nil
	case "meta":
		return meta{}, nil
	case "binary":
		return binaryProtocol{}, nil
	case "redis":
		return redis{}, nil
	}
	return nil, fmt.Errorf("unknown protocol %q", name)
}

// op is an operation that was sent and is not answered.
type op struct {
	set    bool
	keys   []uint64
	next   int   // of keys: those before have been answered
	begun  bool  // the answer's header has been read
	failed bool  // the answer has an error in it
	start  int64 // from when its latency counts
	sent   int64
}

// tally is what answers said.
type tally struct {
	hits, misses, wrong int64
	errors              map[string]int64
	firstWrong          string
}

// maxErrorTexts bounds how many different errors are told apart.
const maxErrorTexts = 32

// fail counts an operation as failed, once, by what the server said.
func (t *tally) fail(o *op, reason []byte) {
	if o.failed {
		return
	}
	o.failed = true
	s := string(bytes.ToValidUTF8(reason, []byte("?")))
	if len(s) > 200 {
		s = s[:200] + "..."
	}
	if t.errors == nil {
		t.errors = map[string]int64{}
	}
	if _, known := t.errors[s]; !known && len(t.errors) >= maxErrorTexts {
		s = "other errors"
	}
	t.errors[s]++
}

// value takes the answer to the operation's next key.
func (t *tally) value(o *op, v []byte) {
	key := o.keys[o.next]
	o.next++
	if ValidValue(key, v) {
		t.hits++
		return
	}
	t.wrong++
	if t.firstWrong == "" {
		shown, dots := v, ""
		if len(v) > 64 {
			shown, dots = v[:64], "..."
		}
		t.firstWrong = fmt.Sprintf("%s has a value of %d bytes that nobody wrote: %q%s", AppendKey(nil, key), len(v), shown, dots)
	}
}

// miss says that the next key has no value.
func (t *tally) miss(o *op) {
	o.next++
	t.misses++
}

// find takes the name of the key that a value is for: those before it have none.
func (t *tally) find(o *op, name []byte) error {
	if key, ok := parseKey(name); ok {
		for i := o.next; i < len(o.keys); i++ {
			if o.keys[i] == key {
				t.misses += int64(i - o.next)
				o.next = i
				return nil
			}
		}
	}
	return fmt.Errorf("answered with key %q, which was not asked for there", name)
}

// rest says that no further key has a value.
func (t *tally) rest(o *op) {
	t.misses += int64(len(o.keys) - o.next)
	o.next = len(o.keys)
}

// maxLine bounds a line of an answer: longer is not the protocol.
const maxLine = 8 << 10

// cutLine is the first line of b without its end, and its length with it: 0 if it is
// not all there.
func cutLine(b []byte) (line []byte, n int, err error) {
	i := bytes.IndexByte(b[:min(len(b), maxLine)], '\n')
	if i < 0 {
		if len(b) >= maxLine {
			return nil, 0, strange(b)
		}
		return nil, 0, nil
	}
	return bytes.TrimSuffix(b[:i], []byte("\r")), i + 1, nil
}

// word cuts the first word off a line.
func word(line []byte) (first, rest []byte) {
	first, rest, _ = bytes.Cut(line, []byte(" "))
	return first, rest
}

// block is a value of the length that digits say and its line end at the beginning of
// b: n is 0 if not all of it is there.
func block(b, digits []byte) (v []byte, n int, err error) {
	size, ok := parseNumber(digits)
	if !ok || size > 1<<30 {
		return nil, 0, fmt.Errorf("answered with %q for the length of a value", digits)
	}
	n = int(size) + 2
	if len(b) < n {
		return nil, 0, nil
	}
	if b[n-2] != '\r' || b[n-1] != '\n' {
		return nil, 0, fmt.Errorf("answered with a value that is not of %d bytes, as it says", size)
	}
	return b[:size], n, nil
}

// strange is the error for what no answer can begin with.
func strange(b []byte) error {
	if len(b) > 64 {
		b = b[:64]
	}
	return fmt.Errorf("answered with %q, which is not the protocol", b)
}

// isError tells memcached's errors of the text protocol.
func isError(line []byte) bool {
	return bytes.HasPrefix(line, []byte("SERVER_ERROR")) || bytes.HasPrefix(line, []byte("CLIENT_ERROR")) || bytes.HasPrefix(line, []byte("ERROR"))
}
