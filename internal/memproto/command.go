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
	MaxKey = item.MaxKey
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
	// KindBegin: a storage command whose value of Form.Size bytes comes in parts,
	// because it is longer than Parser.Whole. All is as in KindRequest, but
	// Request.Value is nil. Take it: it does not come again. KindParts follow.
	KindBegin
	// KindPart: Part is the next piece of the value, and with Last its end. Take it,
	// as KindBegin; what else is in the Command is not of the value's command.
	// KindError in the place of the last part: the value did not end as it should,
	// and nothing is to be stored. See also SkipValue.
	KindPart
	// KindTooLarge: a set with a value over the limit, whose body the parser will
	// swallow. Request is the OpDelete that drops the old value, as memcached does.
	// The answer is ReplyTooLarge.
	KindTooLarge
	// KindFlushAll: Request is an OpFlush without key; its Exptime is the delay in
	// seconds or the Unix time, as a request's, 0 for now. The answer is ReplyOK or
	// ReplyFlushNotAllowed.
	KindFlushAll
	// KindNoop: the answer is AppendNoop, after all before it.
	KindNoop
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
	// KindQuit: answer what came before, then AppendQuit, then close.
	KindQuit
	// KindAuthList asks for the SASL mechanisms: the answer is AppendMechanisms.
	KindAuthList
	// KindAuth is a SASL request (RFC 4422): Request.Key is the mechanism, Request.Value
	// what it has been sent with. The answer is AppendAuthenticated, or Say of
	// ReplyAuthFailure. A second step never comes to anything: PLAIN has one.
	KindAuth
	// KindError: the answer is Error, and then, with Closes, the end of the
	// connection. Quiet is set if a line of text was understood so far as to be
	// quiet about it: a bad argument or data block in a noreply command is not
	// answered, a line of the wrong shape is.
	KindError
)

// Proto is one of the protocols on a memcached port.
type Proto uint8

// The protocols. Text is the zero Proto.
const (
	Text Proto = iota
	Meta
	Binary
)

// Form is how a command is to be answered: its protocol and what the answer
// repeats of it. It is what must be kept of a command until its result is there,
// together with its Shown and Flags.
type Form struct {
	Proto Proto
	// Code is the letter of a meta command, or the opcode of a binary one as it came.
	Code byte
	// Quiet: Text says nothing, the others say nothing of the result that is expected.
	Quiet bool
	// WithCAS says that a retrieval of Text shows the unique of each item (gets, gats).
	WithCAS bool
	// WithValue says that a Meta answer shows the value or the number (v).
	WithValue bool
	// Base64 says that the key of a Meta command is encoded (b).
	Base64 bool
	// Opaque is the token of a Binary request, as it came.
	Opaque uint32
	// Size is the length of a value that was sent, in bytes.
	Size uint32
}

// Command is one command of a client. Its slices share memory with the buffer
// that was parsed, or with the Command, and are good until the next Next. A
// Command is made to be used again for that.
type Command struct {
	Form
	Kind Kind
	// Closes: the connection ends with this KindError.
	Closes bool
	// Request is the command on a key. MaxItemSize is always filled in.
	Request item.Request
	// Keys are the keys of a retrieval or the arguments of a command that has any
	// number. The slice itself belongs to the Command.
	Keys [][]byte
	// Shown is the key as an answer of Meta or Binary may repeat it, Flags are the
	// flags of a Meta command.
	Shown, Flags []byte
	// Error is the answer of KindError, ready to be sent.
	Error string
	// Part is a piece of a value: Parser.PartSize bytes, or with Last what remains,
	// 1 byte or more.
	Part []byte
	Last bool

	decoded []byte // the key of a Meta command with b
}

// keptKeys is how many keys a Command keeps room for from one use to the next.
const keptKeys = 1024

// reset makes c as good as new.
func (c *Command) reset() {
	keys := c.Keys[:0]
	if cap(keys) > keptKeys {
		keys = nil
	}
	*c = Command{Keys: keys, decoded: c.decoded}
}

// fail makes c a KindError.
func (c *Command) fail(reply string) {
	c.Kind = KindError
	c.Error = reply
}
