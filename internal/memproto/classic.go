package memproto

import (
	"bytes"
	"math"

	"github.com/kumofs/kumofs/internal/item"
)

// parseLine makes a command of a line of text. body is how many
// bytes after the line belong to the command; ok is false if rest, which is what
// there is after the line, does not yet hold them all.
//
// A line with too few or too many words is answered ERROR, as memcached 1.6.18
// does (1.6.42 says bad command line format, and lets some pass). That answer
// comes even if the last word is noreply: the line was not understood.
func (p *Parser) parseLine(line, rest []byte, cmd *Command) (body int, ok bool) {
	word, args := nextToken(line)
	switch string(word) {
	case "get":
		parseRetrieval(args, cmd)
	case "gets":
		cmd.WithCAS = true
		parseRetrieval(args, cmd)
	case "gat":
		parseGetAndTouch(args, cmd)
	case "gats":
		cmd.WithCAS = true
		parseGetAndTouch(args, cmd)
	case "set":
		return p.parseStorage(item.OpSet, args, rest, cmd)
	case "add":
		return p.parseStorage(item.OpAdd, args, rest, cmd)
	case "replace":
		return p.parseStorage(item.OpReplace, args, rest, cmd)
	case "append":
		return p.parseStorage(item.OpAppend, args, rest, cmd)
	case "prepend":
		return p.parseStorage(item.OpPrepend, args, rest, cmd)
	case "cas":
		return p.parseStorage(item.OpCAS, args, rest, cmd)
	case "incr":
		parseArithmetic(item.OpIncr, args, cmd)
	case "decr":
		parseArithmetic(item.OpDecr, args, cmd)
	case "touch":
		parseTouch(args, cmd)
	case "delete":
		parseDelete(args, cmd)
	case "mg", "ms", "md", "ma", "me", "mn":
		return p.parseMeta(word[1], args, rest, cmd)
	default:
		p.parseAdmin(word, args, cmd)
	}
	return 0, true
}

// parseRetrieval is get and gets: <key>*. One bad key spoils the line.
func parseRetrieval(args []byte, cmd *Command) {
	cmd.Kind = KindRetrieve
	cmd.Request.Op = item.OpGet
	parseKeys(args, cmd)
}

// parseGetAndTouch is gat and gats: <exptime> <key>*.
func parseGetAndTouch(args []byte, cmd *Command) {
	word, keys := nextToken(args)
	if first, _ := nextToken(keys); len(first) == 0 {
		cmd.fail(ReplyError)
		return
	}
	exptime, ok := parseInt(word)
	if !ok {
		cmd.fail(ReplyBadExptime)
		return
	}
	cmd.Kind = KindRetrieve
	cmd.Request.Op = item.OpGetAndTouch
	cmd.Request.Exptime = exptime
	parseKeys(keys, cmd)
}

func parseKeys(args []byte, cmd *Command) {
	for {
		var key []byte
		if key, args = nextToken(args); len(key) == 0 {
			break
		}
		if !validKey(key) {
			cmd.fail(ReplyBadFormat)
			cmd.Keys = cmd.Keys[:0]
			return
		}
		cmd.Keys = append(cmd.Keys, key)
	}
	if len(cmd.Keys) == 0 {
		cmd.fail(ReplyError)
	}
}

// parseArithmetic is incr and decr: <key> <delta> [noreply].
func parseArithmetic(op item.Op, args []byte, cmd *Command) {
	var t tokens
	t.tokenize(args)
	if t.n != 2 && t.n != 3 {
		cmd.fail(ReplyError)
		return
	}
	cmd.Quiet = t.noReply()
	if !validKey(t.word[0]) {
		cmd.fail(ReplyBadFormat)
		return
	}
	delta, ok := parseUint(t.word[1])
	if !ok {
		cmd.fail(ReplyBadDelta)
		return
	}
	request(cmd, op, t.word[0])
	cmd.Request.Delta = delta
}

// parseTouch is touch: <key> <exptime> [noreply].
func parseTouch(args []byte, cmd *Command) {
	var t tokens
	t.tokenize(args)
	if t.n != 2 && t.n != 3 {
		cmd.fail(ReplyError)
		return
	}
	cmd.Quiet = t.noReply()
	if !validKey(t.word[0]) {
		cmd.fail(ReplyBadFormat)
		return
	}
	exptime, ok := parseInt(t.word[1])
	if !ok {
		cmd.fail(ReplyBadExptime)
		return
	}
	request(cmd, item.OpTouch, t.word[0])
	cmd.Request.Exptime = exptime
}

// parseDelete is delete: <key> [0] [noreply]. The 0 is an old delay that some
// clients still send.
func parseDelete(args []byte, cmd *Command) {
	var t tokens
	t.tokenize(args)
	if t.n < 1 || t.n > 3 {
		cmd.fail(ReplyError)
		return
	}
	if t.n > 1 {
		cmd.Quiet = t.noReply()
		zero := string(t.word[1]) == "0"
		if t.n == 2 && !zero && !cmd.Quiet || t.n == 3 && !(zero && cmd.Quiet) {
			cmd.fail(ReplyDeleteUsage)
			return
		}
	}
	if !validKey(t.word[0]) {
		cmd.fail(ReplyBadFormat)
		return
	}
	request(cmd, item.OpDelete, t.word[0])
}

// parseStorage is set, add, replace, append and prepend: <key> <flags>
// <exptime> <length> [noreply], and cas: <key> <flags> <exptime> <length>
// <unique> [noreply], each with a data block of length bytes and CR LF.
//
// If the length is not a number nobody knows where the next command begins; it
// is taken to be the next line, and the answer comes even with noreply. If only
// something else is wrong the data block is swallowed, so that it is not taken
// for commands. All as memcached 1.6.42 does; 1.6.18 does neither.
func (p *Parser) parseStorage(op item.Op, args, rest []byte, cmd *Command) (body int, ok bool) {
	var t tokens
	t.tokenize(args)
	fixed := 4
	if op == item.OpCAS {
		fixed = 5
	}
	if t.n != fixed && t.n != fixed+1 {
		cmd.fail(ReplyError)
		return 0, true
	}
	length, ok := parseInt(t.word[3])
	if !ok || length < 0 || length > math.MaxInt32-2 {
		cmd.fail(ReplyBadFormat)
		return 0, true
	}
	size := int(length)
	cmd.Quiet = t.noReply()
	flags, flagsOK := parseUint(t.word[1])
	exptime, exptimeOK := parseInt(t.word[2])
	unique, uniqueOK := uint64(0), true
	if op == item.OpCAS {
		unique, uniqueOK = parseUint(t.word[4])
	}
	// memcached 1.6.18 takes larger flags and cuts them to 32 bits.
	if !validKey(t.word[0]) || !flagsOK || flags > math.MaxUint32 || !exptimeOK || !uniqueOK {
		cmd.fail(ReplyBadFormat)
		p.refuseBody(size)
		return 0, true
	}
	body, ok = p.takeBody(op, t.word[0], size, rest, cmd)
	if ok && (cmd.Kind == KindRequest || cmd.Kind == KindBegin) {
		cmd.Request.Flags = uint32(flags)
		cmd.Request.Exptime = exptime
		cmd.Request.CAS = unique
	}
	return body, ok
}

// takeBody makes cmd the request op of key with the data block of size bytes at
// the start of rest, or begins it in parts, or refuses the block. The results are
// parseLine's.
func (p *Parser) takeBody(op item.Op, key []byte, size int, rest []byte, cmd *Command) (body int, ok bool) {
	if size > p.maxItemSize() {
		tooLarge(op, key, cmd)
		p.refuseBody(size)
		return 0, true
	}
	if len(rest) < size+2 && p.givesUp {
		// memcached drops the old value of a set. Here it is kept: nothing was done.
		cmd.fail(ReplyNoMemory)
		p.refuseBody(size)
		return 0, true
	}
	if p.inParts(size) {
		request(cmd, op, key)
		cmd.Size = uint32(size)
		p.quiet = cmd.Quiet
		p.beginParts(size, cmd)
		return 0, true
	}
	if len(rest) < size+2 {
		return size + 2, false
	}
	// What was read is gone even if it does not end as it should: the next
	// command is looked for behind it.
	if rest[size] != '\r' || rest[size+1] != '\n' {
		cmd.fail(ReplyBadDataChunk)
		return size + 2, true
	}
	request(cmd, op, key)
	cmd.Size = uint32(size)
	cmd.Request.Value = rest[:size:size]
	return size + 2, true
}

// tooLarge refuses a value. A set that is refused must not leave the old value
// to be taken for the new one; for the others memcached leaves it.
func tooLarge(op item.Op, key []byte, cmd *Command) {
	cmd.fail(ReplyTooLarge)
	if op == item.OpSet {
		cmd.Kind = KindTooLarge
		cmd.Request.Op = item.OpDelete
		cmd.Request.Key = key
	}
}

// isHTTP tells whether args end in the version of an HTTP request.
func isHTTP(args []byte) bool {
	args = bytes.TrimRight(args, " ")
	return bytes.HasPrefix(args[bytes.LastIndexByte(args, ' ')+1:], []byte("HTTP/"))
}
