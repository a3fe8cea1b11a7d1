package memproto

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kumofs/kumofs/internal/item"
)

// storage is a storage command of each protocol, with what may come behind it.
type storage struct {
	name string
	head func(size int) string
	end  string // of the data block
	next string // another command
	kind Kind   // of next
	op   item.Op
	// errorIsQuiet: a data block that ends wrongly is not answered.
	errorIsQuiet bool
}

// storages are all commands that have a value.
var storages = func() (list []storage) {
	line := func(op item.Op, format string, quiet bool) {
		list = append(list, storage{name: format, op: op, end: "\r\n", next: "version\r\n", kind: KindVersion, errorIsQuiet: quiet,
			head: func(size int) string { return fmt.Sprintf(format, size) + "\r\n" }})
	}
	line(item.OpSet, "set k 1 2 %d", false)
	line(item.OpSet, "set k 1 2 %d noreply", true)
	line(item.OpAdd, "add k 1 2 %d", false)
	line(item.OpReplace, "replace k 1 2 %d noreply", true)
	line(item.OpAppend, "append k 1 2 %d", false)
	line(item.OpPrepend, "prepend k 1 2 %d", false)
	line(item.OpCAS, "cas k 1 2 %d 9", false)
	line(item.OpCAS, "cas k 1 2 %d 9 noreply", true)
	line(item.OpSet, "ms k %d T60 F5 c k Oabc", false)
	line(item.OpAdd, "ms k %d ME q", false)
	line(item.OpAppend, "ms YQ== %d b k q MA N60 C7", false)
	line(item.OpCAS, "ms k %d I C9 E10", false)
	for _, opcode := range []byte{binSet, binSetQ, binAdd, binAddQ, binReplace, binReplaceQ, binAppend, binAppendQ, binPrepend, binPrependQ} {
		extras := stored(7, 8)[:binaryShapes[opcode].extras]
		list = append(list, storage{name: fmt.Sprintf("opcode %#x", opcode), next: packet(binVersion, 0, "", "", ""), kind: KindVersion, op: binaryShapes[opcode].op,
			head: func(size int) string {
				p := packet(opcode, 0, extras, "key", strings.Repeat("v", size))
				return p[:len(p)-size]
			}})
	}
	return list
}()

const (
	testWhole    = 3
	testPartSize = 8
)

// numbered is a value of size bytes, of which the parts differ.
func numbered(size int) string {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte('a' + i%26)
	}
	return string(b)
}

func inParts() Parser { return Parser{MaxItemSize: 1000, Whole: testWhole, PartSize: testPartSize} }

// forParts runs f for each command and for values about the sizes that matter.
func forParts(t *testing.T, f func(t *testing.T, c storage, size int)) {
	for _, c := range storages {
		for _, size := range []int{testWhole + 1, testPartSize - 1, testPartSize, testPartSize + 1, 2*testPartSize - 1, 2 * testPartSize, 2*testPartSize + 1, 3*testPartSize + 5} {
			t.Run(fmt.Sprintf("%s/%d", c.name, size), func(t *testing.T) { f(t, c, size) })
		}
	}
}

// step is a Next that has to find kind and take all of in but rest bytes.
func step(t *testing.T, p *Parser, in []byte, cmd *Command, kind Kind, taken int) []byte {
	t.Helper()
	n, err := p.Next(in, cmd)
	if n != taken || err != nil || cmd.Kind != kind {
		t.Fatalf("Next of %q = %d, %v, kind %d; want %d of kind %d", in, n, err, cmd.Kind, taken, kind)
	}
	return in[n:]
}

// begin has a parser take the command and the first parts of its value.
func begin(t *testing.T, p *Parser, in []byte, cmd *Command, c storage, size, parts int) []byte {
	t.Helper()
	in = step(t, p, in, cmd, KindBegin, len(c.head(size)))
	if cmd.Request.Op != c.op || cmd.Request.Value != nil || cmd.Size != uint32(size) || cmd.Request.MaxItemSize != uint32(p.MaxItemSize) {
		t.Fatalf("began %+v", cmd)
	}
	value := numbered(size)
	for range parts {
		part, end := value[:min(p.PartSize, len(value))], ""
		if value = value[len(part):]; value == "" {
			end = c.end
		}
		in = step(t, p, in, cmd, KindPart, len(part)+len(end))
		if string(cmd.Part) != part || cap(cmd.Part) != len(part) || cmd.Last != (value == "") {
			t.Fatalf("part %q with room for %d, last %v; want %q", cmd.Part, cap(cmd.Part), cmd.Last, part)
		}
	}
	return in
}

func partsOf(size int) int { return (size + testPartSize - 1) / testPartSize }

func TestParts(t *testing.T) {
	forParts(t, func(t *testing.T, c storage, size int) {
		p := inParts()
		var cmd Command
		in := []byte(c.head(size) + numbered(size) + c.end + c.next + c.head(size) + numbered(size) + c.end)
		in = begin(t, &p, in, &cmd, c, size, partsOf(size))
		in = step(t, &p, in, &cmd, c.kind, len(c.next))
		if in = begin(t, &p, in, &cmd, c, size, partsOf(size)); len(in) != 0 {
			t.Errorf("left %q", in)
		}
	})
}

// A value that is not longer than Whole comes in one piece.
func TestPartsOfWhole(t *testing.T) {
	for _, c := range storages {
		for size := range testWhole + 1 {
			p := inParts()
			var cmd Command
			in := []byte(c.head(size) + numbered(size) + c.end + c.next)
			in = step(t, &p, in, &cmd, KindRequest, len(in)-len(c.next))
			if string(cmd.Request.Value) != numbered(size) || cmd.Size != uint32(size) {
				t.Errorf("%s: value %q of %d bytes, want %d", c.name, cmd.Request.Value, cmd.Size, size)
			}
			step(t, &p, in, &cmd, c.kind, len(c.next))
		}
	}
}

// A part may be as large as Whole if nothing else is said.
func TestPartSizeIsWhole(t *testing.T) {
	p := Parser{Whole: 4}
	var cmd Command
	in := []byte("set k 0 0 6\r\nabcdef\r\n")
	in = step(t, &p, in, &cmd, KindBegin, 13)
	in = step(t, &p, in, &cmd, KindPart, 4)
	step(t, &p, in, &cmd, KindPart, 4)
}

// What is found is the same however the bytes are split.
func TestPartsSplit(t *testing.T) {
	forParts(t, func(t *testing.T, c storage, size int) {
		ends := []string{c.end, "xx", "\rx", "x\n"}
		if c.end == "" {
			ends = ends[:1]
		}
		for _, end := range ends {
			in := c.head(size) + numbered(size) + end + c.next
			want := transcript(t, Parser{MaxItemSize: 1000}, []byte(in))
			for i := range len(in) + 1 {
				if got := transcript(t, inParts(), []byte(in[:i]), []byte(in[i:])); got != want {
					t.Fatalf("split at %d:\n%s\nwhole:\n%s", i, got, want)
				}
				// What has not come yet is left the same, too.
				if a, b := transcript(t, Parser{MaxItemSize: 1000}, []byte(in[:i])), transcript(t, inParts(), []byte(in[:i])); a != b {
					t.Fatalf("the first %d bytes:\n%s\nin parts:\n%s", i, a, b)
				}
			}
			if got := transcript(t, inParts(), single(in)...); got != want {
				t.Fatalf("byte by byte:\n%s\nwhole:\n%s", got, want)
			}
		}
	})
}

// A data block that ends wrongly is an error in the place of its last part.
func TestPartsBadEnd(t *testing.T) {
	forParts(t, func(t *testing.T, c storage, size int) {
		if c.end == "" {
			t.Skip("nothing ends a value of the binary protocol")
		}
		for _, end := range []string{"xx", "\rx", "x\n", "\n\r"} {
			p := inParts()
			var cmd Command
			in := []byte(c.head(size) + numbered(size) + end + c.next)
			in = begin(t, &p, in, &cmd, c, size, partsOf(size)-1)
			last := size - (partsOf(size)-1)*testPartSize
			step(t, &p, in[:last+1], &cmd, KindNone, 0)
			in = step(t, &p, in, &cmd, KindError, last+2)
			if cmd.Error != ReplyBadDataChunk || cmd.Quiet != c.errorIsQuiet || cmd.Closes || cmd.Proto != Text || cmd.Part != nil || cmd.Last {
				t.Errorf("found %+v", cmd)
			}
			step(t, &p, in, &cmd, c.kind, len(c.next))
		}
	})
}

// Need says exactly what is to come for the next part, and never more than that.
func TestPartsNeed(t *testing.T) {
	forParts(t, func(t *testing.T, c storage, size int) {
		p := inParts()
		var cmd Command
		in := []byte(c.head(size) + numbered(size) + c.end + c.next)
		in = begin(t, &p, in, &cmd, c, size, 0)
		for left := size; left > 0; {
			want := testPartSize
			if left <= testPartSize {
				want = left + len(c.end)
			}
			for have := range want {
				if need := p.Need(have); need != want-have {
					t.Fatalf("has %d bytes and needs %d, want %d", have, need, want-have)
				}
				step(t, &p, in[:have], &cmd, KindNone, 0)
				if need := p.Need(have); need != want-have {
					t.Fatalf("after Next of %d bytes: needs %d, want %d", have, need, want-have)
				}
			}
			step(t, &p, in[:want], &cmd, KindPart, want)
			in = in[want:]
			left -= len(cmd.Part)
		}
		if need := p.Need(0); need != 1 {
			t.Errorf("after the last part: needs %d", need)
		}
	})
}

// The rest of a value can be skipped after each of its parts.
func TestSkipValue(t *testing.T) {
	forParts(t, func(t *testing.T, c storage, size int) {
		for _, end := range []string{c.end, strings.Repeat("x", len(c.end))} {
			whole := []byte(c.head(size) + numbered(size) + end + c.next)
			for parts := range partsOf(size) {
				start := func(p *Parser, cmd *Command) (rest []byte, swallowed int) {
					rest = begin(t, p, whole, cmd, c, size, parts)
					p.SkipValue()
					p.SkipValue() // again: nothing
					swallowed = len(rest) - len(c.next)
					if need := p.Need(0); need != swallowed {
						t.Fatalf("after %d parts: needs %d, want %d", parts, need, swallowed)
					}
					return rest, swallowed
				}
				p := inParts()
				var cmd Command
				in, n := start(&p, &cmd)
				in = step(t, &p, in, &cmd, KindNone, n)
				step(t, &p, in, &cmd, c.kind, len(c.next))
				for i := 1; i < n; i++ {
					p = inParts()
					in, _ := start(&p, &cmd)
					step(t, &p, in[:i], &cmd, KindNone, i)
					in = step(t, &p, in[i:], &cmd, KindNone, n-i)
					step(t, &p, in, &cmd, c.kind, len(c.next))
				}
			}
		}
	})
}

// Where there is nothing to skip SkipValue does nothing.
func TestSkipNoValue(t *testing.T) {
	for _, c := range storages {
		size := testPartSize + 1
		p := inParts()
		var cmd Command
		p.SkipValue()
		in := begin(t, &p, []byte(c.head(size)+numbered(size)+c.end+c.next+c.head(2)+numbered(2)+c.end), &cmd, c, size, 2)
		p.SkipValue()
		in = step(t, &p, in, &cmd, c.kind, len(c.next))
		p.SkipValue()
		step(t, &p, in[:len(in)-1], &cmd, KindNone, 0)
		p.SkipValue()
		step(t, &p, in, &cmd, KindRequest, len(in))
	}
}

// GiveUp refuses a value of which nothing was given, and is Next within one.
func TestGiveUpParts(t *testing.T) {
	for _, c := range storages {
		size := 2*testPartSize + 1
		in := []byte(c.head(size) + numbered(size) + c.end + c.next)
		p := inParts()
		var cmd Command
		head := len(c.head(size))
		if n := p.GiveUp(in[:head+5], &cmd); n != head || cmd.Kind != KindError {
			t.Fatalf("%s: GiveUp = %d, kind %d", c.name, n, cmd.Kind)
		}
		rest := step(t, &p, in[head:], &cmd, KindNone, size+len(c.end))
		step(t, &p, rest, &cmd, c.kind, len(c.next))

		p = inParts()
		rest = begin(t, &p, in, &cmd, c, size, 1)
		if n := p.GiveUp(rest[:5], &cmd); n != 0 || cmd.Kind != KindNone || p.Need(5) != testPartSize-5 {
			t.Fatalf("%s: in parts GiveUp = %d, kind %d, needs %d", c.name, n, cmd.Kind, p.Need(5))
		}
		if n := p.GiveUp(rest, &cmd); n != testPartSize || cmd.Kind != KindPart || cmd.Last {
			t.Fatalf("%s: GiveUp of a part = %d, kind %d", c.name, n, cmd.Kind)
		}
		rest = step(t, &p, rest[testPartSize:], &cmd, KindPart, 1+len(c.end))
		step(t, &p, rest, &cmd, c.kind, len(c.next))
	}
}

// What is wrong with a command is found before its value comes.
func TestPartsRefused(t *testing.T) {
	for _, c := range []struct {
		in    string
		kind  Kind
		reply string
	}{
		{"set k 0 0 1001\r\n", KindTooLarge, ReplyTooLarge},
		{"add k 0 0 1001\r\n", KindError, ReplyTooLarge},
		{"set " + badKey + " 0 0 500\r\n", KindError, ReplyBadFormat},
		{"set k x 0 500\r\n", KindError, ReplyBadFormat},
		{"cas k 0 0 500 x\r\n", KindError, ReplyBadFormat},
		{"ms k 1001\r\n", KindTooLarge, ReplyTooLarge},
		{"ms k 500 MX\r\n", KindError, ReplyBadSetMode},
		{"ms k! 500 b\r\n", KindError, ReplyBadBase64},
		{packet(binSet, 0, stored(0, 0), "k", strings.Repeat("v", 1001)), KindTooLarge, ReplyTooLarge},
		{packet(binAdd, 0, stored(0, 0), "k", strings.Repeat("v", 1001)), KindError, failed(binAdd, binTooLarge)},
		{packet(binGet, 0, "", "k", strings.Repeat("v", 500)), KindError, failed(binGet, binInvalid)},
		{packet(0x7f, 0, "", "k", strings.Repeat("v", 500)), KindError, failed(0x7f, binUnknown)},
	} {
		p := inParts()
		var cmd Command
		if n, err := p.Next([]byte(c.in), &cmd); n == 0 || err != nil || cmd.Kind != c.kind || cmd.Error != c.reply {
			t.Errorf("%.40q: %d, %v, kind %d, %q", c.in, n, err, cmd.Kind, cmd.Error)
		}
	}
}

// What is sent to authenticate is not stored, and comes in one piece.
func TestPartsNotOfAuth(t *testing.T) {
	p := inParts()
	var cmd Command
	in := packet(binSASLAuth, 0, "", "PLAIN", "\x00user\x00password")
	step(t, &p, []byte(in[:len(in)-1]), &cmd, KindNone, 0)
	step(t, &p, []byte(in), &cmd, KindAuth, len(in))
	if len(cmd.Request.Value) != 14 {
		t.Errorf("value %q", cmd.Request.Value)
	}
}

func TestPartsDoNotAllocate(t *testing.T) {
	var cmd Command
	cmd.decode([]byte("YQ=="))
	for _, c := range storages {
		in := []byte(c.head(100) + numbered(100) + c.end)
		if n := testing.AllocsPerRun(20, func() {
			p := inParts()
			for rest := in; len(rest) > 0; {
				n, err := p.Next(rest, &cmd)
				if n == 0 || err != nil || cmd.Kind != KindBegin && cmd.Kind != KindPart {
					t.Fatal(n, err, cmd.Kind)
				}
				rest = rest[n:]
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
}
