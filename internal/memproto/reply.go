package memproto

import (
	"strconv"

	"github.com/kumofs/kumofs/internal/item"
)

// The lines that the server says, each whole with its CR LF: all of them are
// here. Append them as they are.
const (
	ReplyStored    = "STORED\r\n"
	ReplyNotStored = "NOT_STORED\r\n"
	ReplyExists    = "EXISTS\r\n"
	ReplyNotFound  = "NOT_FOUND\r\n"
	ReplyDeleted   = "DELETED\r\n"
	ReplyTouched   = "TOUCHED\r\n"
	ReplyOK        = "OK\r\n"
	ReplyEnd       = "END\r\n"
	ReplyReset     = "RESET\r\n"

	ReplyError              = "ERROR\r\n"
	ReplyBadFormat          = "CLIENT_ERROR bad command line format\r\n"
	ReplyDeleteUsage        = "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n"
	ReplyBadDataChunk       = "CLIENT_ERROR bad data chunk\r\n"
	ReplyBadDelta           = "CLIENT_ERROR invalid numeric delta argument\r\n"
	ReplyBadExptime         = "CLIENT_ERROR invalid exptime argument\r\n"
	ReplyNonNumeric         = "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"
	ReplyFlushNotAllowed    = "CLIENT_ERROR flush_all not allowed\r\n"
	ReplyWatchNotAllowed    = "CLIENT_ERROR watch commands not allowed\r\n"
	ReplyShutdownMode       = "CLIENT_ERROR invalid shutdown mode\r\n"
	ReplyShutdownNotEnabled = "ERROR: shutdown not enabled\r\n"
	ReplyUnauthenticated    = "CLIENT_ERROR unauthenticated\r\n"
	ReplyAuthFormat         = "CLIENT_ERROR bad authentication token format\r\n"
	ReplyAuthFailure        = "CLIENT_ERROR authentication failure\r\n"
	ReplyInvalidFlag        = "CLIENT_ERROR invalid flag\r\n"
	ReplyDuplicateFlag      = "CLIENT_ERROR duplicate flag\r\n"
	ReplyMetaFlags          = "CLIENT_ERROR invalid or duplicate flag\r\n"
	ReplyTooManyFlags       = "CLIENT_ERROR options flags are too long\r\n"
	ReplyBadToken           = "CLIENT_ERROR bad token in command line format\r\n"
	ReplyBadBase64          = "CLIENT_ERROR error decoding key\r\n"
	ReplyOpaqueTooLong      = "CLIENT_ERROR opaque token too long\r\n"
	ReplyBadSetMode         = "CLIENT_ERROR invalid mode for ms M token\r\n"
	ReplyBadArithmeticMode  = "CLIENT_ERROR invalid mode for ma M token\r\n"
	ReplyBadInitial         = "CLIENT_ERROR invalid numeric initial value\r\n"
	ReplyBadMetaDelta       = "CLIENT_ERROR invalid numeric delta value\r\n"
	ReplyDumpUsage          = "CLIENT_ERROR bad command line\r\n"
	ReplyBadSlabClass       = "CLIENT_ERROR Illegal slab id\r\n"
	ReplyDetailUsage        = "CLIENT_ERROR usage: stats detail on|off|dump\r\n"
	ReplyMemlimitTooSmall   = "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n"
	ReplyMemlimitNotBytes   = "MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes\r\n"

	ReplyTooLarge    = "SERVER_ERROR object too large for cache\r\n"
	ReplyNoMemory    = "SERVER_ERROR out of memory storing object\r\n"
	ReplyFateUnknown = "SERVER_ERROR outcome unknown: the write may or may not have been done\r\n"
)

const (
	serverError    = "SERVER_ERROR "
	internalError  = "internal error"
	maxMessageText = 512 // bytes of a message that are shown to a client
)

// AppendValue appends a hit of a retrieval: the VALUE line, the value and its
// CR LF. cas is shown only if withCAS.
func AppendValue(dst, key []byte, flags uint32, value []byte, withCAS bool, cas uint64) []byte {
	dst = appendValueHead(dst, key, flags, len(value), withCAS, cas)
	dst = append(dst, value...)
	return AppendTail(dst, &Form{Proto: Text})
}

// appendValueHead appends the VALUE line of a value of size bytes.
func appendValueHead(dst, key []byte, flags uint32, size int, withCAS bool, cas uint64) []byte {
	dst = append(dst, "VALUE "...)
	dst = append(dst, key...)
	dst = append(dst, ' ')
	dst = strconv.AppendUint(dst, uint64(flags), 10)
	dst = append(dst, ' ')
	dst = strconv.AppendUint(dst, uint64(size), 10)
	if withCAS {
		dst = append(dst, ' ')
		dst = strconv.AppendUint(dst, cas, 10)
	}
	return append(dst, "\r\n"...)
}

// AppendServerError appends a SERVER_ERROR line with a message for a person. The
// message may be anything: what would break the line is replaced.
func AppendServerError(dst []byte, message string) []byte {
	if message == "" {
		message = internalError
	}
	dst = append(dst, serverError...)
	dst = appendText(dst, message)
	return append(dst, "\r\n"...)
}

// AppendResult appends the line that answers op with res.
//
// Of a retrieval only failures have a line: a hit is
// AppendValue's, a miss is silence.
func AppendResult(dst []byte, op item.Op, res *item.Result) []byte {
	switch res.Status {
	case item.OK:
		return appendOK(dst, op, res)
	case item.NotFound:
		if op.Retrieves() {
			return dst
		}
		return append(dst, ReplyNotFound...)
	case item.NotStored:
		return append(dst, ReplyNotStored...)
	case item.Exists:
		return append(dst, ReplyExists...)
	}
	return appendFailure(dst, res)
}

func appendOK(dst []byte, op item.Op, res *item.Result) []byte {
	switch op {
	case item.OpGet, item.OpGetAndTouch, item.OpMetaGet:
		return dst
	case item.OpSet, item.OpAdd, item.OpReplace, item.OpAppend, item.OpPrepend, item.OpCAS:
		return append(dst, ReplyStored...)
	case item.OpIncr, item.OpDecr:
		dst = strconv.AppendUint(dst, res.Number, 10)
		return append(dst, "\r\n"...)
	case item.OpTouch:
		return append(dst, ReplyTouched...)
	case item.OpDelete:
		return append(dst, ReplyDeleted...)
	}
	return append(dst, ReplyOK...)
}

// appendText appends text with its control characters made spaces, cut at
// maxMessageText bytes.
func appendText(dst []byte, text string) []byte {
	for i := 0; i < min(len(text), maxMessageText); i++ {
		c := text[i]
		if c < ' ' || c == 0x7f {
			c = ' '
		}
		dst = append(dst, c)
	}
	return dst
}
