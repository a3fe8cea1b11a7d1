package memproto

import (
	"bytes"
	"errors"

	"github.com/kumofs/kumofs/internal/item"
)

// Reasons to close a connection. memcached says nothing to the client either.
var (
	// ErrLineTooLong: no newline where there should have been one long ago.
	ErrLineTooLong = errors.New("memcached command line is too long")
	// ErrHTTP: a web browser, or someone who makes one talk to us.
	ErrHTTP = errors.New("HTTP request on a memcached port")
	// ErrNotBinary: no request of the binary protocol, where one had to begin.
	ErrNotBinary = errors.New("not a request of the memcached binary protocol")
)

// Parser cuts the bytes of one connection into commands. The zero Parser is
// ready. What it finds does not depend on how the bytes were split on their way.
type Parser struct {
	// MaxItemSize bounds a value, in bytes, at most 2^31-3; 0 is DefaultMaxItemSize.
	MaxItemSize int
	// Whole: a value of more bytes is given in parts (KindBegin); 0: every value is
	// given in one piece. What is sent to authenticate always is.
	Whole int
	// PartSize is the length of each part but the last, in bytes; 0 is Whole.
	PartSize int
	// BinaryOnly: a connection that does not begin with a binary request is refused.
	BinaryOnly bool

	started bool
	binary  bool // by the first byte of the connection
	err     error
	swallow int // bytes of an unwanted body that are still to come
	left    int // bytes of a value given in parts that are still to come
	scanned int // bytes at the start of buf that are known to hold no newline
	need    int // bytes of buf without which Next cannot go on; 0 is any
	givesUp bool
	quiet   bool // whether a value given in parts may end wrongly without an answer
}

// Next parses the command at the start of buf and says how many bytes it took.
// The rest is to be given again, with more behind it; the parser remembers what
// it saw of it, so those bytes must not change.
//
// n == 0 and no error: there is no whole command yet, see Need. cmd is then
// KindNone. n > 0: cmd is a command, or KindNone where a part of a refused body
// was swallowed. An error: answer what came before and close the connection;
// Next only repeats it from then on.
//
// A caller that cannot begin a command yet may take nothing of it, and is given it
// again. But KindBegin, KindPart, and KindTooLarge and KindError, behind which a body
// may have to be swallowed, have to be taken: the parser goes on behind them.
//
// A value that is not longer than Whole is parsed in one piece, so buf must be able
// to grow to that piece and maxShortLine + 3 more; the piece is MaxItemSize if Whole
// is 0 or more than that. For a part it must be able to grow to PartSize + 2, and in
// any case to 1 MiB for a line.
func (p *Parser) Next(buf []byte, cmd *Command) (n int, err error) {
	cmd.reset()
	if p.err != nil {
		return 0, p.err
	}
	if p.swallow > 0 {
		n = min(p.swallow, len(buf))
		p.swallow -= n
		return n, nil
	}
	if p.left > 0 {
		return p.nextPart(buf, cmd), nil
	}
	if len(buf) == 0 || len(buf) < p.need {
		return 0, nil
	}
	if !p.started {
		p.started = true
		p.binary = buf[0] == magicRequest || p.BinaryOnly
	}
	cmd.Request.MaxItemSize = uint32(p.maxItemSize())
	if p.binary {
		return p.nextBinary(buf, cmd)
	}
	eol := p.endOfLine(buf)
	if p.err != nil {
		return 0, p.err
	}
	if eol < 0 {
		p.scanned = len(buf)
		p.need = len(buf) + 1
		return 0, nil
	}
	p.scanned, p.need = 0, 0

	line := buf[:eol]
	if len(line) > 1 && line[len(line)-1] == '\r' {
		line = line[:len(line)-1]
	}
	body, ok := p.parseLine(line, buf[eol+1:], cmd)
	if !ok {
		cmd.reset()
		p.need = eol + 1 + body
		return 0, nil
	}
	if p.err != nil {
		return 0, p.err
	}
	return eol + 1 + body, nil
}

// GiveUp is Next for a command of which it has not got all: if that is because of
// its value, the value is refused, and swallowed when it comes. n == 0: not even
// its line is there.
//
// Of a value that has begun to come in parts nothing is refused: GiveUp is then
// Next alone, and SkipValue is what gives the value up.
func (p *Parser) GiveUp(buf []byte, cmd *Command) (n int) {
	p.need, p.givesUp = 0, true
	n, _ = p.Next(buf, cmd)
	p.givesUp = false
	return n
}

// Need says how many bytes, at least, must be added to the buffer of the last
// Next before another can go on: 1 or more. have is the length of that buffer
// less what was taken of it.
func (p *Parser) Need(have int) int {
	if p.swallow > 0 {
		return p.swallow
	}
	return max(p.need-have, 1)
}

func (p *Parser) maxItemSize() int {
	if p.MaxItemSize == 0 {
		return DefaultMaxItemSize
	}
	return p.MaxItemSize
}

// inParts tells whether a value of size bytes is given in parts.
func (p *Parser) inParts(size int) bool { return p.Whole > 0 && size > p.Whole }

// beginParts makes cmd, the request for a value of size bytes, the KindBegin of it.
func (p *Parser) beginParts(size int, cmd *Command) {
	cmd.Kind = KindBegin
	p.left = size
	_, p.need = p.partLen()
}

// partLen is the length of the part to come, and how many bytes must be there for
// it: with the last part comes the end of the data block.
func (p *Parser) partLen() (size, need int) {
	size = p.PartSize
	if size <= 0 {
		size = p.Whole
	}
	switch {
	case size < p.left:
		return size, size
	case p.binary:
		return p.left, p.left
	}
	return p.left, p.left + len("\r\n")
}

// nextPart is Next within a value that is given in parts.
func (p *Parser) nextPart(buf []byte, cmd *Command) (n int) {
	size, n := p.partLen()
	p.need = n
	if len(buf) < n {
		return 0
	}
	p.left -= size
	cmd.Request.MaxItemSize = uint32(p.maxItemSize())
	switch {
	case p.left > 0:
		_, p.need = p.partLen()
	case !p.binary && string(buf[size:n]) != "\r\n":
		p.need = 0
		cmd.Quiet = p.quiet
		cmd.fail(ReplyBadDataChunk)
		return n
	default:
		p.need = 0
	}
	cmd.Kind, cmd.Part, cmd.Last = KindPart, buf[:size:size], p.left == 0
	return n
}

// SkipValue makes the parser swallow what is still to come of a value after its
// KindBegin, or after a KindPart that is not Last. Otherwise it does nothing.
func (p *Parser) SkipValue() {
	if p.left == 0 {
		return
	}
	p.swallow = p.left
	if !p.binary {
		p.swallow += len("\r\n")
	}
	p.left, p.need = 0, 0
}

// endOfLine is the place of the newline that ends the command line in buf, -1 if
// it is not there yet. It sets p.err if the line is longer than it may be.
//
// memcached closes only if the newline is not among the bytes it happens to
// have; here a line that is too long is too long however it comes.
func (p *Parser) endOfLine(buf []byte) int {
	eol := bytes.IndexByte(buf[p.scanned:], '\n')
	length := len(buf)
	if eol >= 0 {
		eol += p.scanned
		length = eol
	}
	if length > maxShortLine && (length > maxLine || !mayBeLong(buf)) {
		p.err = ErrLineTooLong
	}
	return eol
}

// mayBeLong tells whether a line begins as one with any number of keys.
// memcached has only get and gets here; it takes a long gat if it comes in one
// piece.
func mayBeLong(line []byte) bool {
	word, _ := nextToken(line[:maxShortLine])
	switch string(word) {
	case "get", "gets", "gat", "gats":
		return true
	}
	return false
}

// refuseBody makes the parser swallow a data block of size bytes and its end.
func (p *Parser) refuseBody(size int) { p.swallow = size + len("\r\n") }

// request fills in what every command on one key has.
func request(cmd *Command, op item.Op, key []byte) {
	cmd.Kind = KindRequest
	cmd.Request.Op = op
	cmd.Request.Key = key
}
