package differential

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// The tests of this file send each command as it succeeds and as it fails in each
// way, with and without noreply or its quiet form, and a marker behind it: the answer
// of the marker must come right behind that of the command, which is none where there
// should be none. Each first on a connection of its own, then all on one.

// step is a command of the text protocol. KEY stands for a key of its own, CAS for
// the unique of its item, CR LF follows the lines.
type step struct {
	name   string
	item   string // what the key holds; "" is nothing
	line   string
	body   string // with what follows it; "" is none
	want   string // its answer
	silent string // its answer with noreply, or q, at the end of the line; "-" is not tried, "=" is want
	ours   string // what kumofs answers instead, with why; "" is no difference
	alone  bool   // memcached drops answers before it
}

const (
	stored    = "STORED"
	notStored = "NOT_STORED"
	exists    = "EXISTS"
	notFound  = "NOT_FOUND"
	badFormat = "CLIENT_ERROR bad command line format"
	badChunk  = "CLIENT_ERROR bad data chunk"
	tooLarge  = "SERVER_ERROR object too large for cache"
	noNumber  = "CLIENT_ERROR cannot increment or decrement non-numeric value"
	swallows  = badFormat // as 1.6.42 does: the body is not taken for a command
)

var large = strings.Repeat("L", 1<<20+1)

// The bodies are unknown commands, so that one that is taken for a command is seen.
var classicSteps = []step{
	{name: "set", line: "set KEY 0 0 4", body: "body", want: stored},
	{name: "set, over an item", item: "x", line: "set KEY 0 0 4", body: "body", want: stored},
	{name: "set, of nothing", line: "set KEY 0 0 0", body: "\r\n", want: stored},
	{name: "set, body too long", line: "set KEY 0 0 1", body: "body", want: badChunk + "\r\nERROR", silent: "ERROR"},
	{name: "set, body with LF alone", line: "set KEY 0 0 4", body: "body!\n", want: badChunk},
	{name: "set, too large", line: fmt.Sprintf("set KEY 0 0 %d", len(large)), body: large, want: tooLarge},
	{name: "set, key too long", line: "set " + longestKey + "k 0 0 4", body: "body", want: badFormat + "\r\nERROR", silent: "ERROR", ours: swallows},
	{name: "set, bad flags", line: "set KEY x 0 4", body: "body", want: badFormat + "\r\nERROR", silent: "ERROR", ours: swallows},
	{name: "set, bad exptime", line: "set KEY 0 x 4", body: "body", want: badFormat + "\r\nERROR", silent: "ERROR", ours: swallows},
	{name: "set, bad length", line: "set KEY 0 0 x", want: badFormat, silent: "-"},
	{name: "set, negative length", line: "set KEY 0 0 -1", want: badFormat, silent: "-"},
	{name: "set, too few words", line: "set KEY 0", want: "ERROR", silent: "="},
	{name: "set, too many words", line: "set KEY 0 0 1 noreply x", want: "ERROR", silent: "="},
	{name: "add", line: "add KEY 0 0 4", body: "body", want: stored},
	{name: "add, over an item", item: "x", line: "add KEY 0 0 4", body: "body", want: notStored},
	{name: "add, too large", line: fmt.Sprintf("add KEY 0 0 %d", len(large)), body: large, want: tooLarge},
	{name: "replace", item: "x", line: "replace KEY 0 0 4", body: "body", want: stored},
	{name: "replace, of nothing", line: "replace KEY 0 0 4", body: "body", want: notStored},
	{name: "append", item: "x", line: "append KEY 0 0 4", body: "body", want: stored},
	{name: "append, to nothing", line: "append KEY 0 0 4", body: "body", want: notStored},
	{name: "append, too large", item: "x", line: fmt.Sprintf("append KEY 0 0 %d", len(large)), body: large, want: tooLarge},
	{name: "prepend", item: "x", line: "prepend KEY 0 0 4", body: "body", want: stored},
	{name: "prepend, to nothing", line: "prepend KEY 0 0 4", body: "body", want: notStored},
	{name: "cas", item: "x", line: "cas KEY 0 0 4 CAS", body: "body", want: stored},
	{name: "cas, of another", item: "x", line: "cas KEY 0 0 4 9223372036854788153", body: "body", want: exists},
	{name: "cas, of nothing", line: "cas KEY 0 0 4 1", body: "body", want: notFound},
	{name: "cas, bad unique", line: "cas KEY 0 0 4 x", body: "body", want: badFormat + "\r\nERROR", silent: "ERROR", ours: swallows},
	{name: "cas, too few words", line: "cas KEY 0 0", want: "ERROR", silent: "="},
	{name: "incr", item: "41", line: "incr KEY 1", want: "42"},
	{name: "incr, of nothing", line: "incr KEY 1", want: notFound},
	{name: "incr, of no number", item: "x", line: "incr KEY 1", want: noNumber},
	{name: "incr, bad delta", item: "1", line: "incr KEY x", want: "CLIENT_ERROR invalid numeric delta argument"},
	{name: "incr, too few words", line: "incr", want: "ERROR", silent: "-"},
	{name: "incr, key too long", line: "incr " + longestKey + "k 1", want: badFormat},
	{name: "decr", item: "43", line: "decr KEY 1", want: "42"},
	{name: "decr, of nothing", line: "decr KEY 1", want: notFound},
	{name: "decr, of no number", item: "x", line: "decr KEY 1", want: noNumber},
	{name: "touch", item: "x", line: "touch KEY 100", want: "TOUCHED"},
	{name: "touch, of nothing", line: "touch KEY 100", want: notFound},
	{name: "touch, bad exptime", item: "x", line: "touch KEY x", want: "CLIENT_ERROR invalid exptime argument"},
	{name: "delete", item: "x", line: "delete KEY", want: "DELETED"},
	{name: "delete, of nothing", line: "delete KEY", want: notFound},
	{name: "delete, of old clients", item: "x", line: "delete KEY 0", want: "DELETED"},
	{name: "delete, key too long", line: "delete " + longestKey + "k", want: badFormat},
	{name: "delete, with a delay", item: "x", line: "delete KEY 5", want: badFormat + ".  Usage: delete <key> [noreply]"},
	{name: "verbosity", line: "verbosity 1", want: "OK"},
	{name: "verbosity, bad", line: "verbosity x", want: badFormat},
	{name: "cache_memlimit", line: "cache_memlimit 64", want: "OK"},
	{name: "flush_all, bad", line: "flush_all x", want: "CLIENT_ERROR invalid exptime argument"},
	{name: "get", item: "x", line: "get KEY", want: "VALUE KEY 0 1\r\nx\r\nEND", silent: "-"},
	{name: "get, of nothing", line: "get KEY", want: "END", silent: "-"},
	{name: "get, without key", line: "get", want: "ERROR", silent: "-"},
	{name: "get, key too long", line: "get KEY " + longestKey + "k", want: badFormat, silent: "-", alone: true},
	{name: "gat", item: "x", line: "gat 100 KEY none KEY", want: "VALUE KEY 0 1\r\nx\r\nVALUE KEY 0 1\r\nx\r\nEND", silent: "-"},
	{name: "gat, bad exptime", item: "x", line: "gat x KEY", want: "CLIENT_ERROR invalid exptime argument", silent: "-"},
	{name: "an unknown word", line: "bogus KEY", want: "ERROR", silent: "="},
	{name: "an empty line", line: "", want: "ERROR", silent: "-"},
}

var metaSteps = []step{
	{name: "mn", line: "mn", want: "MN", silent: "="},
	{name: "mg", item: "x", line: "mg KEY", want: "HD", silent: "="},
	{name: "mg, with value", item: "x", line: "mg KEY v O123 k", want: "VA 1 O123 kKEY\r\nx", silent: "="},
	{name: "mg, of nothing", line: "mg KEY v O123 k", want: "EN O123 kKEY", silent: ""},
	{name: "mg, vivified", line: "mg KEY v N30", want: "VA 0 W\r\n", silent: "="},
	{name: "mg, an unknown flag", item: "x", line: "mg KEY ~", want: "CLIENT_ERROR invalid flag", silent: "="},
	{name: "mg, a flag twice", item: "x", line: "mg KEY v v", want: "CLIENT_ERROR duplicate flag", silent: "="},
	{name: "mg, bad number", item: "x", line: "mg KEY Tx", want: "CLIENT_ERROR bad token in command line format", silent: "="},
	{name: "mg, opaque too long", item: "x", line: "mg KEY O" + strings.Repeat("x", 32), want: "CLIENT_ERROR opaque token too long", silent: "="},
	{name: "mg, key too long", line: "mg " + longestKey + "k v", want: badFormat, silent: "="},
	{name: "mg, bad base64", line: "mg ! b v", want: "CLIENT_ERROR error decoding key", silent: "="},
	{name: "mg, without key", line: "mg", want: "ERROR", silent: "-"},
	{name: "ms", line: "ms KEY 4", body: "body", want: "HD"},
	{name: "ms, all flags", line: "ms KEY 4 T100 F7 O1 k MS", body: "body", want: "HD O1 kKEY"},
	{name: "ms, add over an item", item: "x", line: "ms KEY 4 ME", body: "body", want: "NS", silent: "="},
	{name: "ms, replace nothing", line: "ms KEY 4 MR", body: "body", want: "NS", silent: "="},
	{name: "ms, append to nothing", line: "ms KEY 4 MA", body: "body", want: "NS", silent: "="},
	{name: "ms, append", item: "x", line: "ms KEY 4 MA", body: "body", want: "HD"},
	{name: "ms, of its unique", item: "x", line: "ms KEY 4 CCAS", body: "body", want: "HD"},
	{name: "ms, of another unique", item: "x", line: "ms KEY 4 C9223372036854788153", body: "body", want: "EX", silent: "="},
	{name: "ms, unique of nothing", line: "ms KEY 4 C1", body: "body", want: "NF", silent: "="},
	{name: "ms, bad mode", line: "ms KEY 4 Mx", body: "body", want: "CLIENT_ERROR invalid mode for ms M token", silent: "="},
	{name: "ms, an unknown flag", line: "ms KEY 4 ~", body: "body", want: "CLIENT_ERROR invalid flag", silent: "="},
	{name: "ms, bad number", line: "ms KEY 4 Tx", body: "body", want: "CLIENT_ERROR bad token in command line format", silent: "="},
	{name: "ms, bad base64", line: "ms ! 4 b", body: "body", want: "CLIENT_ERROR error decoding key", silent: "="},
	{name: "ms, too large", line: fmt.Sprintf("ms KEY %d", len(large)), body: large, want: tooLarge, silent: "="},
	{name: "ms, body too long", line: "ms KEY 1", body: "body", want: badChunk + "\r\nERROR", silent: "="},
	{name: "ms, bad length", line: "ms KEY x", want: badFormat, silent: "="},
	{name: "ms, without length", line: "ms KEY", want: badFormat, silent: "-"},
	{name: "ms, key too long", line: "ms " + longestKey + "k 4", body: "body", want: badFormat + "\r\nERROR", silent: "=", ours: swallows},
	{name: "md", item: "x", line: "md KEY", want: "HD"},
	{name: "md, of nothing", line: "md KEY O1 k", want: "NF O1 kKEY", silent: "="},
	{name: "md, stale", item: "x", line: "md KEY I T30", want: "HD"},
	{name: "md, of its unique", item: "x", line: "md KEY CCAS", want: "HD"},
	{name: "md, of another unique", item: "x", line: "md KEY C9223372036854788153", want: "EX", silent: "="},
	{name: "md, an unknown flag", item: "x", line: "md KEY ~", want: "CLIENT_ERROR invalid or duplicate flag", silent: "="},
	{name: "ma", item: "41", line: "ma KEY", want: "HD"},
	{name: "ma, with value", item: "41", line: "ma KEY v", want: "VA 2\r\n42", silent: ""},
	{name: "ma, down", item: "43", line: "ma KEY MD D1 v", want: "VA 2\r\n42", silent: ""},
	{name: "ma, of nothing", line: "ma KEY O1 k", want: "NF O1 kKEY", silent: "="},
	{name: "ma, of nothing, vivified", line: "ma KEY N0 J42 v", want: "VA 2\r\n42", silent: "="},
	{name: "ma, of another unique", item: "1", line: "ma KEY C9223372036854788153", want: "EX", silent: "="},
	{name: "ma, of no number", item: "x", line: "ma KEY", want: noNumber, silent: "="},
	{name: "ma, bad mode", item: "1", line: "ma KEY Mx", want: "CLIENT_ERROR invalid mode for ma M token", silent: "="},
	{name: "ma, bad delta", item: "1", line: "ma KEY Dx", want: "CLIENT_ERROR invalid or duplicate flag", silent: "="},
	{name: "me, of nothing", line: "me KEY", want: "EN", silent: "-"},
	{name: "me, key too long", line: "me " + longestKey + "k", want: badFormat, silent: "-"},
	{name: "an unknown meta command", line: "mx KEY", want: "ERROR", silent: "="},
}

// newerMetaSteps are of the documented protocol, and not in memcached 1.6.18: only
// kumofs is asked. What is expected is what memcached 1.6.45's source does.
var newerMetaSteps = []step{
	{name: "mg, vivified with a unique", line: "mg KEY v c N30 E123", want: "VA 0 c123 W\r\n", silent: "="},
	{name: "ms, with a unique", line: "ms KEY 4 c E123", body: "body", want: "HD c123"},
	{name: "ms, of its unique, with another", item: "x", line: "ms KEY 4 CCAS c E9223372036854775807", body: "body", want: "HD c9223372036854775807"},
	{name: "ms, size", line: "ms KEY 4 s", body: "body", want: "HD s4"},
	{name: "ms, size after append", item: "x", line: "ms KEY 4 MA s", body: "body", want: "HD s5"},
	{name: "ms, append vivifies", line: "ms KEY 4 MA N30", body: "body", want: "HD"},
	{name: "ms, prepend vivifies", line: "ms KEY 4 MP N30", body: "body", want: "HD"},
	{name: "ms, a mode's whole word", line: "ms KEY 4 MSet", body: "body", want: "HD"},
	{name: "ms, a bad unique", line: "ms KEY 4 Ex", body: "body", want: "CLIENT_ERROR bad token in command line format", silent: "="},
	{name: "md, the value only", item: "x", line: "md KEY x", want: "HD"},
	{name: "md, stale with a unique", item: "x", line: "md KEY I T30 E123", want: "HD"},
	{name: "md, the value only, of nothing", line: "md KEY x", want: "NF", silent: "="},
	{name: "ma, with a unique", item: "1", line: "ma KEY c E123", want: "HD c123"},
	{name: "ma, vivified with a unique", line: "ma KEY c N30 J5 E123", want: "HD c123", silent: "="},
}

// wire is one step, ready to be sent: with its key, its item stored.
type wire struct {
	name, in, want string
	alone, closes  bool
}

// prepare stores what the steps need, on a connection of its own. Each step becomes
// two where it can be silent.
func prepare(t *testing.T, addr, prefix string, steps []step, quiet string, kumofs bool) (out []wire) {
	t.Helper()
	c := dial(t, addr)
	r := bufio.NewReader(c)
	for i, s := range steps {
		for _, silent := range []bool{false, true} {
			if silent && s.silent == "-" {
				continue
			}
			key := fmt.Sprintf("%s-%d-%v", prefix, i, silent)
			unique := ""
			if s.item != "" {
				fmt.Fprintf(c, "set %s 0 0 %d\r\n%s\r\ngets %s\r\n", key, len(s.item), s.item, key)
				for _, want := range []string{"STORED", "VALUE", s.item, "END"} {
					line, err := r.ReadString('\n')
					if err != nil || !strings.HasPrefix(line, want) {
						t.Fatalf("storing an item is answered %q, %v", line, err)
					}
					if want == "VALUE" {
						words := strings.Fields(line)
						unique = words[len(words)-1]
					}
				}
			}
			w := wire{name: s.name, want: s.want, alone: s.alone}
			line := s.line
			if kumofs && s.ours != "" {
				w.want = s.ours
			}
			if silent {
				w.name += ", quiet"
				line += quiet
				switch {
				case s.silent == "=":
				case kumofs && s.ours != "":
					w.want = ""
				default:
					w.want = s.silent
				}
			}
			if w.want != "" {
				w.want += "\r\n"
			}
			w.in = line + "\r\n"
			if s.body != "" {
				w.in += s.body
				if !strings.HasSuffix(s.body, "\n") {
					w.in += "\r\n"
				}
			}
			fill := strings.NewReplacer("KEY", key, "CAS", unique)
			w.in, w.want = fill.Replace(w.in), fill.Replace(w.want)
			out = append(out, w)
		}
	}
	return out
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(60 * time.Second))
	return c
}

// exchange sends in pieces of so many bytes and reads an answer of so many, or what
// there is when the connection is closed or nothing more comes.
func exchange(t *testing.T, addr string, in string, piece, size int) (got string, closed bool) {
	t.Helper()
	c := dial(t, addr)
	defer c.Close()
	go func() {
		for rest := in; len(rest) > 0; {
			n := min(piece, len(rest))
			if _, err := io.WriteString(c, rest[:n]); err != nil {
				return
			}
			rest = rest[n:]
		}
	}()
	buf := make([]byte, size+4096)
	n := 0
	for n < size {
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		m, err := c.Read(buf[n:])
		n += m
		if err != nil {
			return string(buf[:n]), !errors.Is(err, os.ErrDeadlineExceeded)
		}
	}
	// Nothing may follow; and where the connection is to be closed it is.
	for err := error(nil); err == nil && n < len(buf); {
		c.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
		var m int
		m, err = c.Read(buf[n:])
		n += m
		closed = err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
	}
	return string(buf[:n]), closed
}

// inStep sends the steps, each with a marker behind it: marker(i) is the i-th and its
// answer. Together: all on one connection, in pieces that end anywhere, but for those
// that cannot be.
func inStep(t *testing.T, addr string, steps []wire, marker func(i int) (in, want string), together bool) {
	t.Helper()
	check := func(name, in, want string, piece int, closes bool) {
		t.Helper()
		got, closed := exchange(t, addr, in, piece, len(want))
		if got = hideUniques(got); got == want && closed == closes {
			return
		}
		at := 0
		for at < len(got) && at < len(want) && got[at] == want[at] {
			at++
		}
		from := max(0, at-100)
		t.Errorf("%s: closed %v, should be %v; answers ...%.300q, should be ...%.300q", name, closed, closes, got[min(from, len(got)):], want[from:])
	}
	var in, want strings.Builder
	for i, s := range steps {
		m, w := marker(i)
		switch {
		case s.closes:
			check(s.name, s.in, s.want, len(s.in), true)
		case !together || s.alone:
			check(s.name, s.in+m, s.want+w, len(s.in+m), false)
		default:
			in.WriteString(s.in + m)
			want.WriteString(s.want + w)
		}
	}
	if together {
		check("all on one connection", in.String(), want.String(), 1009, false)
	}
}

// inStepOver checks a protocol on a server; kumofs says that it is one.
func inStepOver(t *testing.T, addr, protocol string, kumofs bool) {
	t.Helper()
	for _, together := range []bool{false, true} {
		// Keys of its own: a step finds what the table says.
		prefix := fmt.Sprintf("step%x", time.Now().UnixNano())
		switch protocol {
		case "text":
			inStep(t, addr, prepare(t, addr, prefix, classicSteps, " noreply", kumofs), func(i int) (string, string) {
				key := fmt.Sprintf("marker%d", i)
				return "set " + key + " 0 0 0 noreply\r\n\r\nget " + key + "\r\n", "VALUE " + key + " 0 0\r\n\r\nEND\r\n"
			}, together)
		case "meta", "newer meta":
			steps := metaSteps
			if protocol != "meta" {
				steps = newerMetaSteps
			}
			inStep(t, addr, prepare(t, addr, prefix, steps, " q", kumofs), func(i int) (string, string) {
				if i%2 == 0 {
					return "mn\r\n", "MN\r\n"
				}
				return fmt.Sprintf("mg none O%d\r\n", i), fmt.Sprintf("EN O%d\r\n", i)
			}, together)
		case "binary":
			inStep(t, addr, prepareBinary(t, addr, prefix), func(i int) (string, string) {
				p := packet{op: opNoop, opaque: uint32(firstOpaque + i)}
				return p.pieces()[0].text, binaryReply(p, 0, false, "", "", "")
			}, together)
		}
		if t.Failed() {
			return
		}
	}
}

// binaryStep is a command of the binary protocol: of each key, as text.
type binaryStep struct {
	name      string
	item      string // what the key holds; "" is nothing
	op, quiet byte   // quiet is 0 where it has none
	extras    string
	value     string
	unique    int  // 0: none, 1: the item's, 2: another
	noKey     bool // it is sent without
	status    uint16
	body      string // of the answer
	keyBack   bool   // the answer has the key
	extra     string // extras of the answer
	changed   bool   // the answer has a unique
	silent    string // of the quiet form: "-" says nothing, "=" what the other says
	closes    bool
	bodylen   int
}

const (
	setExtras   = "\x00\x00\x00\x00\x00\x00\x00\x00"
	countExtras = "\x00\x00\x00\x00\x00\x00\x00\x01" + setExtras + "\x00\x00\x00\x00"
	countOrMiss = "\x00\x00\x00\x00\x00\x00\x00\x01" + setExtras + "\xff\xff\xff\xff"
	touchExtras = "\x00\x00\x00\x64"
	noFlags     = "\x00\x00\x00\x00"
	num42       = "\x00\x00\x00\x00\x00\x00\x00\x2a"

	isThere  = "Data exists for key."
	isNot    = "Not found"
	invalid  = "Invalid arguments"
	isTooBig = "Too large."
)

var binarySteps = []binaryStep{
	{name: "set", op: 0x01, quiet: 0x11, extras: setExtras, value: "x", changed: true, silent: "-"},
	{name: "set, of its unique", item: "x", op: 0x01, quiet: 0x11, extras: setExtras, value: "x", unique: 1, changed: true, silent: "-"},
	{name: "set, of another unique", item: "x", op: 0x01, quiet: 0x11, extras: setExtras, value: "x", unique: 2, status: 2, body: isThere, silent: "="},
	{name: "set, unique of nothing", op: 0x01, quiet: 0x11, extras: setExtras, value: "x", unique: 2, status: 1, body: isNot, silent: "="},
	{name: "set, too large", op: 0x01, quiet: 0x11, extras: setExtras, value: large, status: 3, body: isTooBig, silent: "="},
	{name: "set, without extras", op: 0x01, quiet: 0x11, value: "x", status: 4, body: invalid, silent: "=", closes: true},
	{name: "set, without key", op: 0x01, quiet: 0x11, extras: setExtras, noKey: true, status: 4, body: invalid, silent: "=", closes: true},
	{name: "add", op: 0x02, quiet: 0x12, extras: setExtras, value: "x", changed: true, silent: "-"},
	{name: "add, over an item", item: "x", op: 0x02, quiet: 0x12, extras: setExtras, value: "x", status: 2, body: isThere, silent: "="},
	{name: "replace", item: "x", op: 0x03, quiet: 0x13, extras: setExtras, value: "x", changed: true, silent: "-"},
	{name: "replace, of nothing", op: 0x03, quiet: 0x13, extras: setExtras, value: "x", status: 1, body: isNot, silent: "="},
	{name: "delete", item: "x", op: 0x04, quiet: 0x14, silent: "-"},
	{name: "delete, of its unique", item: "x", op: 0x04, quiet: 0x14, unique: 1, silent: "-"},
	{name: "delete, of another unique", item: "x", op: 0x04, quiet: 0x14, unique: 2, status: 2, body: isThere, silent: "="},
	{name: "delete, of nothing", op: 0x04, quiet: 0x14, status: 1, body: isNot, silent: "="},
	{name: "delete, with extras", item: "x", op: 0x04, quiet: 0x14, extras: "xyz", status: 4, body: invalid, silent: "=", closes: true},
	{name: "increment", item: "41", op: 0x05, quiet: 0x15, extras: countExtras, body: num42, changed: true, silent: "-"},
	{name: "increment, of nothing", op: 0x05, quiet: 0x15, extras: countOrMiss, status: 1, body: isNot, silent: "="},
	{name: "increment, made", op: 0x05, quiet: 0x15, extras: countExtras, body: setExtras, changed: true, silent: "-"},
	{name: "increment, of no number", item: "x", op: 0x05, quiet: 0x15, extras: countExtras, status: 6, body: "Non-numeric server-side value for incr or decr", silent: "="},
	{name: "increment, of another unique", item: "1", op: 0x05, quiet: 0x15, extras: countExtras, unique: 2, status: 2, body: isThere, silent: "="},
	{name: "decrement", item: "43", op: 0x06, quiet: 0x16, extras: countExtras, body: num42, changed: true, silent: "-"},
	{name: "decrement, of nothing", op: 0x06, quiet: 0x16, extras: countOrMiss, status: 1, body: isNot, silent: "="},
	{name: "append", item: "x", op: 0x0e, quiet: 0x19, value: "y", changed: true, silent: "-"},
	{name: "append, to nothing", op: 0x0e, quiet: 0x19, value: "y", status: 5, body: "Not stored.", silent: "="},
	{name: "append, of another unique", item: "x", op: 0x0e, quiet: 0x19, value: "y", unique: 2, status: 2, body: isThere, silent: "="},
	{name: "append, too large", item: "x", op: 0x0e, quiet: 0x19, value: large, status: 3, body: isTooBig, silent: "="},
	{name: "prepend", item: "x", op: 0x0f, quiet: 0x1a, value: "y", changed: true, silent: "-"},
	{name: "prepend, to nothing", op: 0x0f, quiet: 0x1a, value: "y", status: 5, body: "Not stored.", silent: "="},
	{name: "get", item: "x", op: opGet, quiet: opGetQ, extra: noFlags, body: "x", changed: true, silent: "="},
	{name: "get, of nothing", op: opGet, quiet: opGetQ, status: 1, body: isNot, silent: "-"},
	{name: "get, without key", op: opGet, quiet: opGetQ, noKey: true, status: 4, body: invalid, silent: "=", closes: true},
	{name: "getk", item: "x", op: opGetK, quiet: opGetKQ, extra: noFlags, keyBack: true, body: "x", changed: true, silent: "="},
	{name: "getk, of nothing", op: opGetK, quiet: opGetKQ, status: 1, keyBack: true, silent: "-"},
	{name: "touch", item: "x", op: opTouch, extras: touchExtras, extra: noFlags, changed: true},
	{name: "touch, of nothing", op: opTouch, extras: touchExtras, status: 1, body: isNot},
	{name: "touch, without extras", item: "x", op: opTouch, status: 4, body: invalid, closes: true},
	{name: "gat", item: "x", op: opGat, quiet: opGatQ, extras: touchExtras, extra: noFlags, body: "x", changed: true, silent: "="},
	{name: "gat, of nothing", op: opGat, quiet: opGatQ, extras: touchExtras, status: 1, body: isNot, silent: "-"},
	{name: "gatk", item: "x", op: opGatK, quiet: opGatKQ, extras: touchExtras, extra: noFlags, keyBack: true, body: "x", changed: true, silent: "="},
	{name: "gatk, of nothing", op: opGatK, quiet: opGatKQ, extras: touchExtras, status: 1, keyBack: true, silent: "-"},
	{name: "noop", op: opNoop, noKey: true},
	{name: "noop, with a body", op: opNoop, noKey: true, value: "x", status: 4, body: invalid, closes: true},
	{name: "stat, of nothing", op: opStat, noKey: true, extras: "", value: "", bodylen: -1, status: 1, body: isNot},
	{name: "an unknown opcode", op: 0x60, noKey: true, status: 0x81, body: "Unknown command"},
	{name: "an unknown opcode, with a body", op: 0x60, noKey: true, value: "xyz", status: 0x81, body: "Unknown command"},
	{name: "a body shorter than the key", op: opGet, bodylen: 2, status: 0x81, body: "Unknown command", closes: true},
	{name: "quit", op: opQuit, quiet: opQuitQ, noKey: true, silent: "-", closes: true},
}

// binaryReply is an answer to p.
func binaryReply(p packet, status uint16, unique bool, extras, key, value string) string {
	h := []byte{magicOut, p.op}
	h = binary.BigEndian.AppendUint16(h, uint16(len(key)))
	h = append(h, byte(len(extras)), 0)
	h = binary.BigEndian.AppendUint16(h, status)
	h = binary.BigEndian.AppendUint32(h, uint32(len(extras)+len(key)+len(value)))
	h = binary.BigEndian.AppendUint32(h, p.opaque)
	cas := uint64(0)
	if unique {
		cas = hidden
	}
	return string(binary.BigEndian.AppendUint64(h, cas)) + extras + key + value
}

// hidden stands for any unique.
const hidden = 0xeeeeeeeeeeeeeeee

// hideUniques puts it in the place of those in binary answers.
func hideUniques(got string) string {
	b := []byte(got)
	for at := 0; at+headerLen <= len(b) && b[at] == magicOut; {
		if cas := b[at+16 : at+24]; binary.BigEndian.Uint64(cas) != 0 {
			binary.BigEndian.PutUint64(cas, hidden)
		}
		at += headerLen + int(binary.BigEndian.Uint32(b[at+8:]))
	}
	return string(b)
}

// prepareBinary stores what the binary steps need. Each becomes two where it has a
// quiet form.
func prepareBinary(t *testing.T, addr, prefix string) (out []wire) {
	t.Helper()
	c := dial(t, addr)
	r := bufio.NewReader(c)
	for i, s := range binarySteps {
		for _, op := range []byte{s.op, s.quiet} {
			silent := op != s.op
			if silent && s.quiet == 0 {
				continue
			}
			p := packet{op: op, extras: s.extras, key: fmt.Sprintf("%s-%d-%v", prefix, i, silent), value: s.value, opaque: uint32(i + 1), bodylen: s.bodylen}
			unique := uint64(0)
			if s.item != "" {
				set := packet{op: 1, extras: setExtras, key: p.key, value: s.item}
				if _, err := io.WriteString(c, set.pieces()[0].text); err != nil {
					t.Fatal(err)
				}
				u, _, err := readBinary(r)
				if err != nil || u.unique == 0 {
					t.Fatalf("storing an item is answered %q, %v", u.text, err)
				}
				unique = u.unique
			}
			key := p.key
			if s.noKey {
				p.key, key = "", ""
			}
			if s.bodylen < 0 {
				p.key, p.bodylen = "bogus", 0
			}
			w := wire{name: s.name, in: p.pieces()[0].text, closes: s.closes}
			if s.unique == 2 {
				unique = noUnique
			}
			if s.unique > 0 {
				w.in = w.in[:16] + string(binary.BigEndian.AppendUint64(nil, unique)) + w.in[24:]
			}
			if !s.keyBack {
				key = ""
			}
			w.want = binaryReply(p, s.status, s.changed, s.extra, key, s.body)
			if silent {
				w.name += ", quiet"
				if s.silent == "-" {
					w.want = ""
				}
			}
			out = append(out, w)
		}
	}
	return out
}

// TestInStepReference proves the tables on memcached.
func TestInStepReference(t *testing.T) {
	mc := start(t)
	for _, protocol := range []string{"text", "meta", "binary"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			inStepOver(t, mc.Addr, protocol, false)
		})
	}
}
