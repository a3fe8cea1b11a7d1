// Package differential sends the same random commands to a real memcached and to
// another server that should answer as it does, over the text protocol with its meta
// commands and over the binary one, and compares the answers.
//
// CAS uniques are each server's own: a command that has one is sent to each server
// with the unique that this server gave at the same place (known, in session.go).
// Everything else must be the same byte for byte, but for what Explained lists.
package differential

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// command is what is sent at once, with its value if it has one.
type command struct {
	binary bool
	pieces []piece // joined, they are its bytes
	key    string  // whose unique is told, if the answer has the opaque
	opaque string  // of a meta command, or of a binary one in decimal
	// Where it may be among others; see generator.batch.
	alone, last, closes bool
}

// piece is bytes, or, where back is not 0, the unique that the key was seen with
// back times ago; 1 is the newest.
type piece struct {
	text string
	back int
}

// noUnique is sent for a unique that no answer has told yet. No item has it.
const noUnique = 1<<63 + 12345

// bytes is what is sent to a side.
func (c *command) bytes(s *session, side int) []byte {
	var b []byte
	for _, p := range c.pieces {
		switch {
		case p.back == 0:
			b = append(b, p.text...)
		case c.binary:
			b = binary.BigEndian.AppendUint64(b, s.unique(c.key, p.back, side))
		default:
			b = strconv.AppendUint(b, s.unique(c.key, p.back, side), 10)
		}
	}
	return b
}

// String is it for a person to read, and to send again.
func (c *command) String() string {
	var b strings.Builder
	for _, p := range c.pieces {
		if p.back > 0 {
			fmt.Fprintf(&b, "{unique %d of %.20q}", p.back, c.key)
			continue
		}
		text := p.text
		for len(text) > 0 {
			// Long runs of one byte are told by their length.
			run := 1
			for run < len(text) && text[run] == text[0] {
				run++
			}
			if run > 40 {
				fmt.Fprintf(&b, "{%q x %d}", text[:1], run)
			} else {
				q := strconv.Quote(text[:run])
				b.WriteString(q[1 : len(q)-1])
			}
			text = text[run:]
		}
	}
	return b.String()
}

// batch is commands that are sent together, on one connection.
type batch []*command

func (b batch) closes() bool { return len(b) > 0 && b[len(b)-1].closes }
func (b batch) binary() bool { return len(b) > 0 && b[0].binary }

// Request header of the binary protocol.
const (
	headerLen   = 24
	magicIn     = 0x80
	magicOut    = 0x81
	opNoop      = 0x0a
	opStat      = 0x10
	opVersion   = 0x0b
	endOfBatch  = 0xfffffff0 // opaque of the no-op that ends a batch
	firstOpaque = 1000
)

// packet is a request: the header says what lengths are given in it.
type packet struct {
	op             byte
	extras         string
	key, value     string
	opaque         uint32
	back           int // as in piece; 0: no unique
	datatype       byte
	keylen, extlen int // 0: as they are
	bodylen        int
}

func (p packet) pieces() []piece {
	or := func(given, is int) int {
		if given != 0 {
			return given
		}
		return is
	}
	h := []byte{magicIn, p.op}
	h = binary.BigEndian.AppendUint16(h, uint16(or(p.keylen, len(p.key))))
	h = append(h, byte(or(p.extlen, len(p.extras))), p.datatype, 0, 0)
	h = binary.BigEndian.AppendUint32(h, uint32(or(p.bodylen, len(p.extras)+len(p.key)+len(p.value))))
	h = binary.BigEndian.AppendUint32(h, p.opaque)
	body := p.extras + p.key + p.value
	if p.back == 0 {
		return []piece{{text: string(h) + "\x00\x00\x00\x00\x00\x00\x00\x00" + body}}
	}
	return []piece{{text: string(h)}, {back: p.back}, {text: body}}
}
