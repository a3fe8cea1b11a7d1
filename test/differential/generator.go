package differential

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// Protocols that a generator can speak.
const (
	Text = 1 << iota
	Meta
	Binary
)

// generator makes commands, mostly good ones, on few keys, so that they meet.
//
// What it does not make, because memcached 1.6.18 is no reference there, is listed in
// COMPATIBILITY.md.
type generator struct {
	*rand.Rand
	protocols int
	depth     int  // of the deepest batch
	newer     bool // flags too that 1.6.18 does not know
	large     bool // values too that lie in chunks in kumofs

	opaque uint32
	// held are the keys whose item an answer of this batch still holds in memcached:
	// there incr makes a new one and does not pad the number. (The answers of get and
	// its like are sent at once.)
	held map[string]bool
}

var (
	longestKey = strings.Repeat("k", 250)
	// A key may begin with c or O without being taken for a flag.
	textKeys = []string{"a", "b", "c", "d", "n", "n2", "n3", longestKey, "\xc3\xa9", "c7"}
	// What only the binary protocol can name.
	binaryKeys = []string{"with space", "\x00\x01\r\n", strings.Repeat("\xff", 180)}
	// What only meta commands name, in base64. memcached tells a key so if its item was
	// made by ms with that flag, and else as it is, whatever bytes it has; append, incr
	// and vivification forget the flag. So the first of these are asked for their key (k)
	// and do not meet those commands, the others the other way round.
	base64Keys    = []string{"base 64", "\x00\x02\r\n", "plain64"}
	base64KeysToo = []string{"base 65", "\x00\x03\r\n", "plain65", strings.Repeat("\xfe", 180)}
)

const farFuture = 2147483647

func (g *generator) pick(words ...string) string { return words[g.IntN(len(words))] }
func (g *generator) chance(percent int) bool     { return g.IntN(100) < percent }
func (g *generator) textKey() string             { return g.pick(textKeys...) }

// anyKey is one that the binary protocol can name.
func (g *generator) anyKey() string {
	if g.chance(15) {
		return g.pick(binaryKeys...)
	}
	return g.textKey()
}

// freeKey is a key of which no item is held, "" if there is none.
func (g *generator) freeKey(key func() string) string {
	for range 10 {
		if k := key(); !g.held[k] {
			return k
		}
	}
	return ""
}

// value has no minus sign: where a number is 2^63 or more, memcached refuses to incr
// it if there is one in the memory behind it. Nor is it white space alone: the number
// would be read from there. Short ones are digits often, for incr.
func (g *generator) value() string {
	if g.large && g.chance(8) {
		// About the sizes at which kumofs goes over to chunks, and from one chunk to the next.
		size := []int{1 << 20, 1<<20 + 1, 17 << 16, 1 << 16, 1<<20 - 1000, 1<<20 + 70000}[g.IntN(6)]
		return strings.Repeat(g.pick("w", "END\r\n", "12"), size)[:size]
	}
	switch g.IntN(10) {
	case 0:
		return strings.Repeat(g.pick("v", "\r\n.", "\x00", "END\r\n"), g.IntN(500))
	case 1:
		return g.pick("", "x", "two\r\nlines", "5 x", "3x", "END")
	case 2:
		return g.pick("18446744073709551615", "18446744073709551616", "007 ", " +3", "00000000000000000000000000001", "9999999999999999999")
	case 3:
		return strings.Repeat("w", g.IntN(3000))
	}
	return g.pick("10", "9", "0", "99", "1", "123456")
}

func (g *generator) exptime() string {
	return g.pick("0", "0", "0", "0", "1000", "2592000", strconv.Itoa(farFuture), "-1", "2592001", "+5000")
}

func (g *generator) delta() string {
	return g.pick("1", "1", "2", "9", "100", "0", "18446744073709551615")
}

// back is which unique of a key is given: the newest mostly.
func (g *generator) back() int { return 1 + []int{0, 0, 0, 0, 1, 2, 99}[g.IntN(7)] }

// batch is the next commands, for one connection. A command that is alone may make memcached
// drop answers before it; one that is last may eat bytes of the next.
func (g *generator) batch() batch {
	g.held = map[string]bool{}
	var speak []func() *command
	if g.protocols&Text != 0 {
		speak = append(speak, g.text)
	}
	if g.protocols&Meta != 0 {
		speak = append(speak, g.meta)
	}
	if g.protocols&Binary != 0 && (len(speak) == 0 || g.chance(40)) {
		speak = []func() *command{g.binary}
	}
	if g.chance(5) {
		// Most of these can only be alone.
		if g.protocols&Binary == 0 || g.protocols&Text != 0 && g.chance(50) {
			return batch{g.odd()}
		}
		g.opaque++
		p := packet{key: g.anyKey(), opaque: firstOpaque + g.opaque}
		return batch{g.oddBinary(&command{binary: true, opaque: strconv.Itoa(int(p.opaque))}, p)}
	}
	var b batch
	for n := 1 + g.IntN([]int{1, 5, 20, g.depth}[g.IntN(4)]); n > 0; n-- {
		c := speak[g.IntN(len(speak))]()
		if c.alone || c.closes {
			if len(b) > 0 {
				continue
			}
			return batch{c}
		}
		b = append(b, c)
		if c.last {
			break
		}
	}
	if len(b) == 0 {
		return g.batch()
	}
	return b
}

func plain(text string) *command { return &command{pieces: []piece{{text: text}}} }

// unique is one for an item to get.
func (g *generator) unique() string { return g.pick("1", "123", "18446744073709551615", "x") }

// end is how a line may end.
func (g *generator) end() string {
	return g.pick("", "", "", "", " noreply", " ") + g.pick("\r\n", "\r\n", "\r\n", "\n")
}

// text is a command of the classic protocol.
func (g *generator) text() *command {
	sp := g.pick(" ", " ", " ", " ", "  ")
	switch g.IntN(14) {
	case 0, 1, 2:
		value := g.value()
		return plain(fmt.Sprintf("%s%s%s %s %s%s%d%s%s\r\n", g.pick("set", "set", "set", "add", "replace", "append", "prepend"), sp,
			g.textKey(), g.pick("0", "1", "4294967295"), g.exptime(), sp, len(value), g.end(), value))
	case 3:
		c := &command{key: g.textKey()}
		value := g.value()
		c.pieces = []piece{{text: fmt.Sprintf("cas %s 3 %s %d%s", c.key, g.exptime(), len(value), sp)}, {back: g.back()},
			{text: g.end() + value + "\r\n"}}
		if g.chance(5) {
			c.pieces[1] = piece{text: "0"}
		}
		return c
	case 4, 5:
		key := g.freeKey(g.textKey)
		if key == "" {
			return plain("version\r\n")
		}
		return plain(g.pick("incr", "decr") + sp + key + " " + g.pick(g.delta(), g.delta(), g.delta(), "+3", "-1", "x", "") + g.end())
	case 6:
		return plain("touch " + g.textKey() + sp + g.exptime() + g.end())
	case 7:
		return plain(g.pick("gat ", "gats ") + g.exptime() + sp + g.textKey() + sp + g.textKey() + "\r\n")
	case 8:
		return plain("delete" + sp + g.textKey() + g.pick("", "", " 0", " 1") + g.end())
	case 9:
		if g.chance(50) {
			return g.odd()
		}
		return plain(g.pick("bogus", "get", "verbosity 0", "delete", "incr a", "set a 1 2", "touch a", "cache_memlimit 64", "GET a",
			"", " ", "gat", "gats a b", "touch a b", "verbosity", "version", "shutdown", "decr", "delete a b c", "gett a", "cas a 0 0 1") + "\r\n")
	}
	line := g.pick("get", "gets", "gets")
	for range 1 + g.IntN(5) {
		line += sp + g.textKey()
	}
	return plain(line + g.pick("\r\n", " \r\n", "\n"))
}

// odd is what goes wrong in text.
func (g *generator) odd() *command {
	bad := longestKey + "k"
	switch g.IntN(12) {
	case 0:
		return &command{alone: true, pieces: plain(g.pick("get "+bad, "gets "+bad+" a", "gat 0 "+bad, "gats 0 "+bad+" a b") + "\r\n").pieces}
	case 1:
		return plain(g.pick("incr "+bad+" 1", "touch "+bad+" 0", "delete "+bad) + "\r\n")
	case 2: // a body that is too long, too short, ends in LF
		return &command{last: true, pieces: plain(g.pick("set", "add", "append") + " " + g.textKey() +
			g.pick(" 0 0 1\r\nxyz\r\n", " 0 0 3 noreply\r\nxyzz\r\n", " 0 0 3\r\nab\r\n", " 0 0 3\r\nabc\n", " 0 0 0\r\nabc\r\n")).pieces}
	case 3:
		return plain("set " + g.textKey() + g.pick(" 0 0 -1\r\n", " 0 0 abc\r\n", " 0 0 2147483647\r\n", " 0 0 1 noreply x\r\n"))
	case 4:
		if g.chance(80) {
			return plain("stats" + g.pick("", " ", " settings", " items", " slabs", " bogus", " sizes") + "\r\n")
		}
		size := 1<<20 + 1 + g.IntN(1000)
		return plain(fmt.Sprintf("%s %s 0 0 %d%s\r\n%s\r\n", g.pick("set", "append", "add"), g.textKey(), size, g.pick("", " noreply"),
			strings.Repeat("L", size)))
	case 5:
		return &command{closes: true, alone: true, pieces: plain(g.pick("quit\r\n", "GET / HTTP/1.1\r\n\r\n", strings.Repeat("y", 3000))).pieces}
	case 6:
		return &command{alone: true, pieces: plain("flush_all" + g.pick("", " ", " 0", " noreply", " 0 noreply") + "\r\n").pieces}
	case 7:
		return plain("flush_all " + g.pick("abc", "noreply 0", "0 1 2") + "\r\n")
	}
	return plain(g.pick("cache_memlimit a", "cache_memlimit 7", "verbosity a", "verbosity noreply", "verbosity 1 noreply", "version x",
		"incr absent 1 2", "delete a 5 noreply", "ge\x00t a") + "\r\n")
}

// meta is a meta command. flags are shuffled; some are left out, some are wrong.
func (g *generator) meta() *command {
	key := g.textKey()
	kind := g.IntN(12)
	if kind >= 6 && kind < 9 {
		if key = g.freeKey(g.textKey); key == "" {
			return plain("mn\r\n")
		}
	}
	name, flags := key, []string{}
	forgets, tellsKey := true, true
	if g.chance(15) {
		if forgets = kind >= 6 && kind < 9 || g.chance(50); forgets {
			key, tellsKey = g.pick(base64KeysToo...), false
		} else {
			key = g.pick(base64Keys...)
		}
		if kind >= 6 && kind < 9 && g.held[key] {
			return plain("mn\r\n")
		}
		name = base64.StdEncoding.EncodeToString([]byte(key))
		flags = append(flags, "b")
	}
	c := &command{key: key}
	some := func(percent int, more ...string) {
		for _, f := range more {
			if g.chance(percent) {
				flags = append(flags, f)
			}
		}
	}
	some(20, "q")
	if tellsKey {
		some(30, "k")
	}
	if g.chance(60) {
		g.opaque++
		c.opaque = strconv.FormatUint(uint64(g.opaque), 36)
		flags = append(flags, "O"+c.opaque)
	} else if g.chance(3) {
		longest := 4 // one more and two more than are taken
		if kind < 5 || kind >= 6 && kind < 9 {
			longest = 2 // memcached says that it is too long when mg and ma are done
		}
		flags = append(flags, "O"+strings.Repeat("o", 30+g.IntN(longest)))
	}
	const unique = "C?"
	body, line := "", ""
	switch kind {
	case 0, 1, 2, 3, 4:
		line = "mg "
		some(70, "v", "c")
		some(30, "s", "f", "t")
		some(15, "h", "l", "u")
		some(10, "R"+g.pick("30", "4000"))
		if g.newer {
			some(15, "E"+g.unique())
		}
		// Not both: what t tells depends on the order of the three.
		if g.chance(10) {
			some(100, "T"+g.pick("0", "1000", "2592000", "-1"))
		} else if forgets {
			some(10, "N"+g.pick("0", "1000"))
		}
		g.held[key] = true
	case 5, 9, 10:
		line = "ms "
		some(50, "c")
		some(30, "F"+g.pick("0", "5", "4294967295"), "T"+g.pick("0", "0", "1000", "-1", "2592000"))
		if forgets {
			some(20, "M"+g.pick("A", "P"))
		}
		if len(flags) == 0 || flags[len(flags)-1][0] != 'M' {
			some(30, "M"+g.pick("E", "R", "S"))
		}
		some(20, unique, "I")
		if g.newer {
			some(20, "E"+g.unique(), "s", "N"+g.pick("0", "1000"))
		}
		body = g.value()
	case 6, 7, 8:
		line = "ma "
		some(60, "v", "c")
		some(30, "t", "D"+g.delta(), "M"+g.pick("I", "D", "+", "-", "i", "d"))
		if g.newer { // memcached sets it on the item that a longer number has replaced
			some(30, "T"+g.pick("0", "1000", "2592000"))
		}
		if g.chance(30) {
			flags = append(flags, "N"+g.pick("0", "1000"))
			some(70, "J"+g.pick("0", "10", "18446744073709551615"))
		}
		some(10, unique)
		if g.newer {
			some(20, "E"+g.unique())
		}
	case 11:
		switch g.IntN(8) {
		case 0:
			return plain("mn\r\n")
		case 1:
			return plain("me " + g.textKey() + "\r\n")
		case 2:
			return plain(g.pick("mg", "me", "mn x", "ms", "md", "ma", "ms a", "ms a abc", "ms a -1", "mx a", "mg a v v", "md a q q", "mg a \x7f",
				"mg a z", "ma a Mx", "ma a Dx", "ma a D-1", "ma a Jx", "mg a N", "mg a Tx", "md a I Tx", "me "+longestKey+"k", "mg "+longestKey+"k v",
				"md "+longestKey+"k", "ma "+longestKey+"k", "mg ! b", "mg Z b v") + "\r\n")
		case 3:
			return plain(g.pick("ms a 2 Z", "ms a 2 Mx", "ms a 2 F-1", "ms a 2 Tx", "ms ! 2 b", "ms a 2 c c", "ms a 2 C") + "\r\nhi\r\n")
		case 4:
			return &command{last: true, pieces: plain("ms " + g.textKey() + g.pick(" 2\r\nxyz\r\n", " 2 q\r\nx\r\n", " 3\r\nabc\n", " 0 q\r\nabc\r\n")).pieces}
		}
		line = "md "
		some(40, "I", "T"+g.pick("0", "1000"))
		some(20, unique)
		if g.newer {
			some(30, "E"+g.unique(), "x")
		}
	}
	g.Shuffle(len(flags), func(i, j int) { flags[i], flags[j] = flags[j], flags[i] })
	line += name
	if line[1] == 's' {
		line += " " + strconv.Itoa(len(body))
	}
	for _, f := range flags {
		if f == unique {
			c.pieces = append(c.pieces, piece{text: line + " C"}, piece{back: g.back()})
			line = ""
			continue
		}
		line += " " + f
	}
	line += g.pick("\r\n", "\r\n", "\r\n", "\n")
	if strings.Contains(line+" ", "ms ") || len(c.pieces) > 0 && strings.HasPrefix(c.pieces[0].text, "ms ") {
		line += body + "\r\n"
	}
	c.pieces = append(c.pieces, piece{text: line})
	return c
}

// Opcodes of the binary protocol, each with its quiet form.
const (
	opGet, opGetQ, opGetK, opGetKQ = 0x00, 0x09, 0x0c, 0x0d
	opTouch                        = 0x1c
	opGat, opGatQ, opGatK, opGatKQ = 0x1d, 0x1e, 0x23, 0x24
	opFlush, opFlushQ              = 0x08, 0x18
	opQuit, opQuitQ                = 0x07, 0x17
	opDelete, opDeleteQ            = 0x04, 0x14
	opAppend                       = 0x0e
)

func seconds(text string) string {
	n, _ := strconv.ParseInt(text, 10, 64)
	return string(binary.BigEndian.AppendUint32(nil, uint32(n)))
}

// binary is a request of the binary protocol. The opaque of each is its own.
func (g *generator) binary() *command {
	g.opaque++
	p := packet{key: g.anyKey(), opaque: firstOpaque + g.opaque}
	c := &command{binary: true, opaque: strconv.Itoa(int(p.opaque))}
	quiet := func(loud, hushed byte) byte {
		if g.chance(40) {
			return hushed
		}
		return loud
	}
	cas := func(percent int) {
		if g.chance(percent) {
			p.back = g.back()
		}
	}
	// Time is unsigned here: there is no -1.
	exptime := func() string {
		return seconds(g.pick("0", "0", "0", "1000", "2592000", "2592001", strconv.Itoa(farFuture), "4294967295"))
	}
	switch g.IntN(16) {
	case 0, 1, 2:
		loud := byte(1 + g.IntN(3))
		if g.chance(50) {
			loud = 1
		}
		p.op = quiet(loud, loud+0x10)
		p.extras = string(binary.BigEndian.AppendUint32(nil, []uint32{0, 1, 0xffffffff}[g.IntN(3)])) + exptime()
		p.value = g.value()
		cas(25)
	case 3:
		p.op = quiet(opDelete, opDeleteQ)
		cas(25)
	case 4, 5:
		if p.key = g.freeKey(g.anyKey); p.key == "" {
			p = packet{op: opNoop, opaque: p.opaque}
			break
		}
		loud := byte(5 + g.IntN(2))
		p.op = quiet(loud, loud+0x10)
		delta, _ := strconv.ParseUint(g.delta(), 10, 64)
		initial := []uint64{0, 10, 1<<64 - 1}[g.IntN(3)]
		p.extras = string(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, delta), initial)) +
			seconds(g.pick("0", "0", "1000", "4294967295", "4294967295"))
		cas(10)
	case 6:
		loud := byte(opAppend + g.IntN(2))
		p.op = quiet(loud, loud+0x0b)
		p.value = g.value()
		cas(15)
	case 7:
		p.op = opTouch
		p.extras = exptime()
		g.held[p.key] = true
	case 8, 9:
		p.op = []byte{opGat, opGatQ, opGatK, opGatKQ}[g.IntN(4)]
		p.extras = exptime()
		g.held[p.key] = true
	case 10:
		switch {
		case g.chance(40):
			p = packet{op: opNoop, opaque: p.opaque}
		case g.chance(50):
			p = packet{op: opVersion, opaque: p.opaque}
		case g.chance(30):
			p = packet{op: opStat, opaque: p.opaque, key: g.pick("", "settings", "items", "slabs", "bogus")}
			c.alone = true // nothing says which answer the one after it is of
		default:
			return g.oddBinary(c, p)
		}
	default:
		p.op = []byte{opGet, opGetQ, opGetK, opGetKQ}[g.IntN(4)]
		g.held[p.key] = true
		if g.chance(10) {
			p.datatype = 1 // no one looks at it
		}
	}
	c.key, c.pieces = p.key, p.pieces()
	return c
}

// oddBinary is what goes wrong in binary. Only what has no key can be of an unknown
// opcode: memcached takes the key's bytes off what follows, too.
func (g *generator) oddBinary(c *command, p packet) *command {
	switch g.IntN(8) {
	case 0:
		p = packet{op: byte(0x60 + g.IntN(0x20)), opaque: p.opaque, value: g.pick("", "abc")}
	case 1:
		p = packet{op: quietFlush(g), opaque: p.opaque, extras: g.pick("", "\x00\x00\x00\x00")}
		c.alone = true
	case 2:
		p = packet{op: []byte{opQuit, opQuitQ}[g.IntN(2)], opaque: p.opaque}
		c.closes = true
	case 3: // lengths that are not the opcode's
		p.op = []byte{opGet, opDelete, opGetKQ, 1, 0x11, 5, opTouch, opGatQ, opVersion, opNoop}[g.IntN(10)]
		p.extras = "xyz"
		c.closes = true
	case 4:
		p.op = []byte{opGet, opDelete, 1, 2, 3, 5, 6, opAppend, opTouch}[g.IntN(9)]
		if p.key = ""; p.op != opGet && p.op != opDelete && p.op != opAppend {
			p.extras = "12345678"
		}
		c.closes = true
	case 5:
		p.key = longestKey + "k"
		p.op = []byte{opGet, opDelete, opGetQ}[g.IntN(3)]
		c.closes = true
	case 6: // the body ends before the key
		p.op, p.key, p.bodylen = opGet, "abc", 2
		c.closes = true
	case 7:
		if !g.chance(15) {
			p = packet{op: opNoop, opaque: p.opaque}
			break
		}
		p.op, p.extras, p.value = 1, "\x00\x00\x00\x00\x00\x00\x00\x00", strings.Repeat("B", 1<<20+1+g.IntN(1000))
	}
	c.key, c.pieces = p.key, p.pieces()
	return c
}

func quietFlush(g *generator) byte { return []byte{opFlush, opFlushQ}[g.IntN(2)] }
