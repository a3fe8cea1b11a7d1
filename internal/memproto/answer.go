package memproto

import "github.com/kumofs/kumofs/internal/item"

// AppendAnswer appends what answers a KindRequest with res, perhaps nothing. f,
// shown and flags are the command's (Form, Shown, Flags); op is its operation, as
// the client asked for it.
//
// A retrieval of Text is AppendValue's and AppendEnd's, but for its failures.
func AppendAnswer(dst []byte, f *Form, shown, flags []byte, op item.Op, res *item.Result) []byte {
	switch f.Proto {
	case Meta:
		return appendMeta(dst, f, shown, flags, res)
	case Binary:
		return appendBinary(dst, f, shown, op, res)
	}
	if f.Quiet {
		return dst
	}
	return AppendResult(dst, op, res)
}

// AppendHead appends all of an answer that stands before the bytes of a value, which
// the caller appends as they come, and after them AppendTail. The value has res.Size
// bytes; res.Item.Value is not looked at. res is a hit of a retrieval that shows
// the value: of Text, of Meta with v, of Binary. The other arguments are
// AppendAnswer's, for Text too, of which shown is the key.
func AppendHead(dst []byte, f *Form, shown, flags []byte, op item.Op, res *item.Result) []byte {
	size := int(res.Size)
	switch f.Proto {
	case Meta:
		return appendMetaHead(dst, f, shown, flags, size, res)
	case Binary:
		return appendBinaryHead(dst, f, shown, op, size, res)
	}
	return appendValueHead(dst, shown, res.Item.Flags, size, f.WithCAS, res.Item.CAS())
}

// AppendTail appends what stands right after the bytes of a value. The end of a
// retrieval of Text is still AppendEnd's.
func AppendTail(dst []byte, f *Form) []byte {
	if f.Proto == Binary {
		return dst
	}
	return append(dst, "\r\n"...)
}

// Say appends an answer that is one of the Reply lines, in the form of a command:
// for Binary, the status that means the same.
func Say(dst []byte, f *Form, line string) []byte {
	if f.Proto != Binary {
		return append(dst, line...)
	}
	status := binaryStatus(line)
	if status != binOK {
		return appendStatus(dst, f, status)
	}
	if f.Quiet {
		return dst
	}
	return appendPacket(dst, f, binOK, 0, nil, nil, 0)
}

// AppendNoop appends the answer to KindNoop.
func AppendNoop(dst []byte, f *Form) []byte {
	if f.Proto == Binary {
		return appendPacket(dst, f, binOK, 0, nil, nil, 0)
	}
	return append(dst, "MN\r\n"...)
}

// AppendQuit appends the answer to KindQuit, which Text has not.
func AppendQuit(dst []byte, f *Form) []byte {
	if f.Proto != Binary || f.Quiet {
		return dst
	}
	return appendPacket(dst, f, binOK, 0, nil, nil, 0)
}

// AppendVersion appends the answer to version; version is one like "1.6.45".
func AppendVersion(dst []byte, f *Form, version string) []byte {
	if f.Proto == Binary {
		return append(appendPacket(dst, f, binOK, 0, nil, nil, len(version)), version...)
	}
	dst = append(dst, "VERSION "...)
	dst = appendText(dst, version)
	return append(dst, "\r\n"...)
}

// AppendMechanisms appends the answer to KindAuthList.
func AppendMechanisms(dst []byte, f *Form) []byte {
	return append(appendPacket(dst, f, binOK, 0, nil, nil, len(Mechanism)), Mechanism...)
}

// Mechanism is the SASL mechanism that is spoken (RFC 4616).
const Mechanism = "PLAIN"

// AppendAuthenticated appends the answer to who is let in: by KindAuth, or in Text
// by a set of "user password".
func AppendAuthenticated(dst []byte, f *Form) []byte {
	if f.Proto == Binary {
		const text = "Authenticated"
		return append(appendPacket(dst, f, binOK, 0, nil, nil, len(text)), text...)
	}
	return append(dst, ReplyStored...)
}

// AppendEnd appends the end of a retrieval of Text, or of stats.
func AppendEnd(dst []byte, f *Form) []byte {
	if f.Proto == Binary {
		return appendPacket(dst, f, binOK, 0, nil, nil, 0)
	}
	return append(dst, ReplyEnd...)
}

// appendFailure appends the line of a result that is a failure in any command of text.
func appendFailure(dst []byte, res *item.Result) []byte {
	switch res.Status {
	case item.NonNumeric:
		return append(dst, ReplyNonNumeric...)
	case item.TooLarge:
		return append(dst, ReplyTooLarge...)
	case item.FateUnknown:
		return append(dst, ReplyFateUnknown...)
	}
	return AppendServerError(dst, res.Message)
}
