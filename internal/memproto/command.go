// Package memproto is the codec of memcached's protocol: bytes to commands
// (Parser), and results to bytes (the Append functions of reply.go). No network,
// no goroutines, no clock; the hot path does not allocate.
//
// It copies memcached 1.6. Where its versions differ or are hazardous, the choice
// is written at the place.
package memproto

import "github.com/kumofs/kumofs/internal/item"

// Limits of the protocol, in bytes.
const (
	// MaxKey is the longest key.
	MaxKey = 250
	// DefaultMaxItemSize is the longest value unless the caller says otherwise.
	DefaultMaxItemSize = 1 << 20
	// maxShortLine bounds a command line (without its newline) that is not a retrieval.
	maxShortLine = 2048
	// maxLine bounds a retrieval, which may have any number of keys.
	maxLine = 1 << 20
)

// Kind is what the caller has to do with a command.
type Kind uint8

const (
	// KindNone: nothing; a part of a body was swallowed.
	KindNone Kind = iota
	// KindRetrieve: Request.Op (OpGet, or OpGetAndTouch with Request.Exptime) on
	// each of Keys, one or more. The answer is AppendValue for each hit in the
	// order of Keys, then AppendEnd; or, if one key failed, only the line that
	// AppendResult makes of that failure.
	KindRetrieve
	// KindRequest: Request. The answer is AppendResult.
	KindRequest
	// KindTooLarge: a set with a value over the limit, whose body the parser will
	// swallow. Request is the OpDelete that drops the old value, as memcached does.
	// The answer is ReplyTooLarge.
	KindTooLarge
	// KindFlushAll: Request is an OpFlush without key; its Exptime is the delay in
	// seconds or the Unix time, as a request's, 0 for now. The answer is ReplyOK or
	// ReplyFlushNotAllowed.
	KindFlushAll
	// KindVersion: the answer is AppendVersion.
	KindVersion
	// KindVerbosity: the answer is ReplyOK. The level is in Request.Delta.
	KindVerbosity
	// KindCacheMemlimit: the answer is ReplyOK. The limit in MiB is in Request.Delta.
	KindCacheMemlimit
	// KindStats: Keys holds the arguments, none or more. The answer is AppendStat
	// for each line, then AppendEnd; or ReplyReset to "reset"; or ReplyError.
	KindStats
	// KindShutdown: Keys holds the arguments, none or more. The answer is
	// ReplyShutdownNotEnabled, or ReplyShutdownMode if there is an argument that is
	// not one "graceful"; otherwise there is none, and the process ends.
	KindShutdown
	// KindQuit: answer what came before, then close.
	KindQuit
	// KindError: the answer is Error. NoReply is set if the line was understood so
	// far as to be quiet about it: a bad argument or data block in a noreply command
	// is not answered, a line of the wrong shape is.
	KindError
	// KindBinary: the first byte of the connection is 0x80, the binary protocol.
	// Nothing more is parsed, the next Next says ErrBinary: close.
	KindBinary
)

// Command is one command of a client. Its slices share memory with the buffer
// that was parsed and are good as long as that is. A Command is made to be used
// again for the next Next.
type Command struct {
	Kind Kind
	// Request is the command on a key. MaxItemSize is always filled in.
	Request item.Request
	// Keys are the keys of a retrieval or the arguments of a command that has any
	// number. The slice itself belongs to the Command.
	Keys [][]byte
	// WithCAS says that a retrieval shows the unique of each item (gets, gats).
	WithCAS bool
	// NoReply says that nothing must be answered, whatever the Kind and the result.
	NoReply bool
	// Error is the answer of KindError: a line with its CR LF. Of KindTooLarge too.
	Error string
}

// keptKeys is how many keys a Command keeps room for from one use to the next.
const keptKeys = 1024

// reset makes c as good as new.
func (c *Command) reset() {
	keys := c.Keys[:0]
	if cap(keys) > keptKeys {
		keys = nil
	}
	*c = Command{Keys: keys}
}

// fail makes c a KindError.
func (c *Command) fail(reply string) {
	c.Kind = KindError
	c.Error = reply
}
