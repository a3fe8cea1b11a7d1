package memproto

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/kumofs/kumofs/internal/item"
)

// transcript feeds the parser p the chunks as they come from a connection and writes
// down all that it finds. It fails if the parser asks for more than it may. A value
// that comes in parts is put together, as if it had not.
func transcript(t *testing.T, p Parser, chunks ...[]byte) string {
	t.Helper()
	return skippingTranscript(t, p, -1, chunks...)
}

// skippingTranscript is transcript, but of a value in parts all that comes after
// skipAfter parts is skipped; -1: nothing is.
func skippingTranscript(t *testing.T, p Parser, skipAfter int, chunks ...[]byte) string {
	t.Helper()
	var cmd Command
	var log strings.Builder
	var buf []byte
	joined := joiner{skipAfter: skipAfter}
	bound := max(maxShortLine+p.maxItemSize()+3, maxLine+1)
	for _, chunk := range chunks {
		// A new buffer each time, so that nothing leans on the old one.
		buf = append(append(make([]byte, 0, len(buf)+len(chunk)), buf...), chunk...)
		for {
			before := p
			need := p.Need(len(buf))
			n, err := p.Next(buf, &cmd)
			if err != nil {
				fmt.Fprintf(&log, "error %v\n", err)
				if n2, err2 := p.Next(buf, &cmd); n2 != 0 || !errors.Is(err2, err) || cmd.Kind != KindNone {
					t.Fatalf("after error %v: %d, %v, kind %d", err, n2, err2, cmd.Kind)
				}
				return log.String()
			}
			if n < 0 || n > len(buf) {
				t.Fatalf("took %d of %d bytes", n, len(buf))
			}
			if n == 0 {
				if cmd.Kind != KindNone {
					t.Fatalf("took nothing and found kind %d", cmd.Kind)
				}
				if need = p.Need(len(buf)); p.left > 0 && len(buf)+need > p.PartSize+2 {
					t.Fatalf("has %d bytes of a part and wants %d more", len(buf), need)
				}
				if need < 1 || p.swallow == 0 && len(buf)+need > bound {
					t.Fatalf("has %d bytes and wants %d more, the bound is %d", len(buf), need, bound)
				}
				break
			}
			if before.swallow == 0 && need > 1 {
				t.Fatalf("wanted %d bytes more, yet went on without", need)
			}
			if whole := joined.add(t, &p, &cmd, buf[:n]); whole != nil {
				writeCommand(t, &log, whole)
			}
			// What was consumed may be overwritten once the command is done.
			for i := range buf[:n] {
				buf[i] = '#'
			}
			buf = buf[n:]
		}
	}
	fmt.Fprintf(&log, "swallow %d\nrest %q\n", p.swallow, append(joined.taken, buf...))
	return log.String()
}

// writeCommand writes a command down and checks what must hold of every one.
func writeCommand(t *testing.T, log *strings.Builder, cmd *Command) {
	t.Helper()
	req := &cmd.Request
	switch cmd.Kind {
	case KindNone:
		return
	case KindRetrieve:
		if len(cmd.Keys) == 0 || req.Op != item.OpGet && req.Op != item.OpGetAndTouch {
			t.Fatalf("retrieval %d of %d keys", req.Op, len(cmd.Keys))
		}
		for _, key := range cmd.Keys {
			if !validKey(key) {
				t.Fatalf("key %q", key)
			}
		}
	case KindRequest, KindBegin, KindTooLarge:
		// An encoded key may be anything. That it was is not in the Form of KindTooLarge.
		binaryKey := cmd.Proto == Binary || cmd.Base64 || cmd.Kind == KindTooLarge
		if !req.Op.Valid() || !validKey(req.Key) && !binaryKey || len(req.Key) == 0 || len(req.Key) > MaxKey {
			t.Fatalf("operation %d of key %q", req.Op, req.Key)
		}
		if len(req.Value) > int(req.MaxItemSize) {
			t.Fatalf("a value of %d bytes, the limit is %d", len(req.Value), req.MaxItemSize)
		}
	}
	if errs := cmd.Kind == KindError || cmd.Kind == KindTooLarge; errs != (cmd.Error != "") || errs && cmd.Proto != Binary && !isLine(cmd.Error) {
		t.Fatalf("kind %d with answer %q", cmd.Kind, cmd.Error)
	}
	fmt.Fprintf(log, "kind %d op %d key %q value %q flags %d exptime %d cas %d delta %d limit %d keys %q form %+v error %q options %x unique %d initial %d vivify %d recache %d shown %q flags %q\n",
		cmd.Kind, req.Op, req.Key, req.Value, req.Flags, req.Exptime, req.CAS, req.Delta, req.MaxItemSize, cmd.Keys, cmd.Form, cmd.Error,
		req.Options, req.Unique, req.Initial, req.VivifyExptime, req.RecacheExptime, cmd.Shown, cmd.Flags)
}

// joiner puts commands together whose values come in parts, and checks the parts.
type joiner struct {
	skipAfter int // parts after which the rest of a value is skipped; -1: never

	begun bool
	cmd   Command // with the value, as far as it has come
	parts int
	taken []byte // what was taken since KindBegin
}

// add returns the whole command that cmd, found in the bytes taken, is or ends, if it
// does; a command of which the value is skipped is its KindBegin with what has come.
func (j *joiner) add(t *testing.T, p *Parser, cmd *Command, taken []byte) *Command {
	t.Helper()
	switch {
	case !j.begun && cmd.Kind == KindBegin:
		if cmd.Request.Value != nil || int(cmd.Size) <= p.Whole || p.Whole == 0 || int(cmd.Size) > p.maxItemSize() {
			t.Fatalf("parts of %d bytes, value %q", cmd.Size, cmd.Request.Value)
		}
		j.begun, j.parts = true, 0
		j.cmd = *cmd
		j.cmd.Request.Key = bytes.Clone(cmd.Request.Key)
		j.cmd.Shown, j.cmd.Flags = bytes.Clone(cmd.Shown), bytes.Clone(cmd.Flags)
	case j.begun && cmd.Kind == KindPart:
		value, size := &j.cmd.Request.Value, int(j.cmd.Size)
		*value = append(*value, cmd.Part...)
		if len(cmd.Part) != cap(cmd.Part) || len(*value) > size || cmd.Last != (len(*value) == size) ||
			len(cmd.Part) != p.PartSize && !(cmd.Last && 0 < len(cmd.Part) && len(cmd.Part) < p.PartSize) {
			t.Fatalf("a part of %d bytes with room for %d, last %v: has %d of %d bytes", len(cmd.Part), cap(cmd.Part), cmd.Last, len(*value), size)
		}
		if cmd.Request.MaxItemSize != j.cmd.Request.MaxItemSize {
			t.Fatalf("a part with a limit of %d", cmd.Request.MaxItemSize)
		}
		j.parts++
	case j.begun && cmd.Kind == KindError:
		j.begun, j.taken = false, nil
		return cmd
	case j.begun || cmd.Kind == KindPart || cmd.Kind == KindBegin:
		t.Fatalf("kind %d, begun %v", cmd.Kind, j.begun)
	default:
		if cmd.Kind == KindRequest && p.inParts(len(cmd.Request.Value)) {
			t.Fatalf("a value of %d bytes in one piece", len(cmd.Request.Value))
		}
		return cmd
	}
	j.taken = append(j.taken, taken...)
	switch {
	case cmd.Last:
		j.cmd.Kind = KindRequest
	case j.parts == j.skipAfter:
		p.SkipValue()
	default:
		return nil
	}
	j.begun, j.taken = false, nil
	return &j.cmd
}

// isLine tells whether s is one line with its CR LF.
func isLine(s string) bool {
	return strings.HasSuffix(s, "\r\n") && !strings.ContainsAny(s[:len(s)-2], "\r\n")
}

// checkSplits checks that what is found in b does not depend on how it comes.
func checkSplits(t *testing.T, limit int, b []byte, seed uint64) {
	t.Helper()
	whole := transcript(t, Parser{MaxItemSize: limit}, bytes.Clone(b))
	chunks := cut(b, rand.New(rand.NewPCG(seed, 1)))
	if split := transcript(t, Parser{MaxItemSize: limit}, chunks...); split != whole {
		t.Fatalf("in one piece:\n%.2000s\nin %d pieces:\n%.2000s", whole, len(chunks), split)
	}
}

// cut cuts a copy of b anywhere.
func cut(b []byte, r *rand.Rand) (chunks [][]byte) {
	for rest := bytes.Clone(b); len(rest) > 0; {
		n := min(1+r.IntN(1+r.IntN(1+len(rest))), len(rest))
		chunks = append(chunks, rest[:n])
		rest = rest[n:]
	}
	return chunks
}

// checkParts checks that what is found in b does not depend on whether values come
// in parts, and on how b comes then.
func checkParts(t *testing.T, limit int, b []byte, seed uint64) {
	t.Helper()
	whole := transcript(t, Parser{MaxItemSize: limit}, bytes.Clone(b))
	r := rand.New(rand.NewPCG(seed, 2))
	for _, p := range []Parser{{Whole: 3, PartSize: 4}, {Whole: 1 + r.IntN(12), PartSize: 1 + r.IntN(12)}} {
		p.MaxItemSize = limit
		if parts := transcript(t, p, bytes.Clone(b)); parts != whole {
			t.Fatalf("whole:\n%.2000s\nin parts of %d above %d:\n%.2000s", whole, p.PartSize, p.Whole, parts)
		}
		chunks := cut(b, r)
		if parts := transcript(t, p, chunks...); parts != whole {
			t.Fatalf("whole:\n%.2000s\nin parts of %d above %d, from %d pieces:\n%.2000s", whole, p.PartSize, p.Whole, len(chunks), parts)
		}
		skipAfter := r.IntN(4)
		one := skippingTranscript(t, p, skipAfter, bytes.Clone(b))
		chunks = cut(b, r)
		if split := skippingTranscript(t, p, skipAfter, chunks...); split != one {
			t.Fatalf("skipped after %d parts of %d above %d, in one piece:\n%.2000s\nin %d pieces:\n%.2000s", skipAfter, p.PartSize, p.Whole, one, len(chunks), split)
		}
	}
}

func TestSplits(t *testing.T) {
	for _, d := range dialogs {
		for seed := range uint64(5) {
			checkSplits(t, 0, []byte(d.in), seed)
		}
		if len(d.in) < 5000 {
			for seed := range uint64(5) {
				checkParts(t, 0, []byte(d.in), seed)
			}
			for _, p := range []Parser{{}, {Whole: 1, PartSize: 1}, {Whole: 3, PartSize: 4}} {
				if a, b := transcript(t, Parser{}, []byte(d.in)), transcript(t, p, single(d.in)...); a != b {
					t.Errorf("%s: in one piece:\n%s\nbyte by byte, values above %d in parts:\n%s", d.name, a, p.Whole, b)
				}
			}
		}
	}
}

// single is s byte by byte.
func single(s string) [][]byte {
	chunks := make([][]byte, len(s))
	for i := range chunks {
		chunks[i] = []byte{s[i]}
	}
	return chunks
}

// The three fuzz tests feed bytes to the parser, whole and in pieces, with values
// whole and in parts, and have what it finds executed and answered.

func FuzzParser(f *testing.F) { fuzz(f, "") }

func FuzzMeta(f *testing.F) { fuzz(f, "m") }

func FuzzBinary(f *testing.F) { fuzz(f, "\x80") }

// fuzz is for connections that begin with first.
func fuzz(f *testing.F, first string) {
	for _, d := range dialogs {
		if len(d.in) < 4000 && strings.HasPrefix(d.in, first) {
			f.Add([]byte(d.in), uint64(1))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, seed uint64) {
		b = append([]byte(first), bytes.TrimPrefix(b, []byte(first))...)
		checkSplits(t, 40, b, seed)
		checkParts(t, 40, b, seed)
		server := newFake(1_700_000_000)
		server.parser.MaxItemSize = 40
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		out, _ := server.serve(b)
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > fuzzAlloc+200*uint64(len(b)+len(out)) {
			t.Fatalf("%d bytes were allocated for %d of input and %d of answers", grown, len(b), len(out))
		}
		server = newFake(1_700_000_000)
		server.parser = Parser{MaxItemSize: 40, Whole: 3, PartSize: 4}
		if parts, _ := server.serve(b); !bytes.Equal(parts, out) {
			t.Fatalf("answers %.1000q, with values in parts %.1000q", out, parts)
		}
	})
}

// fuzzAlloc is what a dialog may allocate however short it is: other goroutines of
// the fuzzing process count too.
const fuzzAlloc = 4 << 20

func TestNeed(t *testing.T) {
	p := Parser{MaxItemSize: 1000}
	var cmd Command
	in := []byte("set a 0 0 100\r\n" + strings.Repeat("x", 100) + "\r\nget a\r\nset a 0 0 5000\r\n")
	step := func(have, wantTaken, wantNeed int) {
		t.Helper()
		n, err := p.Next(in[:have], &cmd)
		if need := p.Need(have - n); n != wantTaken || err != nil || need != wantNeed {
			t.Fatalf("Next of %d bytes: %d, %v and needs %d; want %d and %d", have, n, err, need, wantTaken, wantNeed)
		}
		in = in[n:]
	}
	step(0, 0, 1)
	step(5, 0, 1)
	step(14, 0, 1)
	step(15, 0, 102)
	step(50, 0, 67)
	step(116, 0, 1)
	step(120, 117, 1)
	step(3, 0, 1)
	step(7, 7, 1)
	step(16, 16, 5002)
	in = make([]byte, 5010)
	step(100, 100, 4902)
	step(4910, 4902, 1)
}

// A refused body passes through without being kept.
func TestSwallowInPieces(t *testing.T) {
	p := Parser{MaxItemSize: 10}
	var cmd Command
	line := []byte("set a 0 0 2000000000 noreply\r\n")
	if n, err := p.Next(line, &cmd); n != len(line) || err != nil || cmd.Kind != KindTooLarge || cmd.Request.Op != item.OpDelete ||
		string(cmd.Request.Key) != "a" || !cmd.Quiet || cmd.Error != ReplyTooLarge {
		t.Fatalf("Next = %d, %v, %+v", n, err, cmd)
	}
	piece := bytes.Repeat([]byte("version\r\n"), 100000)
	for left := 2000000002; left > 0; {
		n, err := p.Next(piece, &cmd)
		if want := min(left, len(piece)); n != want || err != nil || cmd.Kind != KindNone {
			t.Fatalf("Next = %d, %v, kind %d; want %d", n, err, cmd.Kind, want)
		}
		left -= n
	}
	if n, err := p.Next([]byte("version\r\n"), &cmd); n != 9 || err != nil || cmd.Kind != KindVersion {
		t.Fatalf("after the body: %d, %v, kind %d", n, err, cmd.Kind)
	}
}

// A value that cannot be kept is given up, whatever of it has come.
func TestGiveUp(t *testing.T) {
	var p Parser
	var cmd Command
	in := []byte("cas a 0 0 10 5 noreply\r\nversion\r\n1\r\nversion\r\n")
	line := bytes.IndexByte(in, '\n') + 1
	if n := p.GiveUp(in[:10], &cmd); n != 0 {
		t.Fatalf("gave up %d bytes of a line that is not there yet", n)
	}
	if n, err := p.Next(in[:line+5], &cmd); n != 0 || err != nil {
		t.Fatalf("Next = %d, %v", n, err)
	}
	if n := p.GiveUp(in[:line+5], &cmd); n != line || cmd.Kind != KindError || cmd.Error != ReplyNoMemory || !cmd.Quiet {
		t.Fatalf("GiveUp = %d, %+v", n, cmd)
	}
	if n, err := p.Next(in[line:line+5], &cmd); n != 5 || err != nil || cmd.Kind != KindNone {
		t.Fatalf("what has come: %d, %v, kind %d", n, err, cmd.Kind)
	}
	if n, err := p.Next(in[line+5:], &cmd); n != 7 || err != nil || cmd.Kind != KindNone {
		t.Fatalf("the rest: %d, %v, kind %d", n, err, cmd.Kind)
	}
	if n, err := p.Next(in[line+12:], &cmd); n != 9 || err != nil || cmd.Kind != KindVersion {
		t.Fatalf("after it: %d, %v, kind %d", n, err, cmd.Kind)
	}
	in = []byte("set a 0 0 2\r\n")
	if n, err := p.Next(append(in, "v"...), &cmd); n != 0 || err != nil {
		t.Errorf("the next value is given up too: %d, %v", n, err)
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		in  string
		err error
	}{
		{strings.Repeat("x", maxShortLine+1), ErrLineTooLong},
		{strings.Repeat("x", maxShortLine+1) + "\r\n", ErrLineTooLong},
		{"set " + strings.Repeat("x", maxShortLine), ErrLineTooLong},
		{"get " + strings.Repeat("x", maxLine), ErrLineTooLong},
		{"GET / HTTP/1.1\r\n", ErrHTTP},
		{"OPTIONS * HTTP/2.0 \n", ErrHTTP},
	} {
		var p Parser
		var cmd Command
		_, err := p.Next([]byte(c.in), &cmd)
		if !errors.Is(err, c.err) {
			t.Errorf("%.40q: %v, want %v", c.in, err, c.err)
		}
	}
}

// A line of many keys must not leave its room behind for ever.
func TestKeysAreLetGo(t *testing.T) {
	var p Parser
	var cmd Command
	in := []byte("get" + strings.Repeat(" k", 100000) + "\r\n")
	if n, err := p.Next(in, &cmd); n != len(in) || err != nil || len(cmd.Keys) != 100000 {
		t.Fatalf("Next = %d, %v with %d keys", n, err, len(cmd.Keys))
	}
	p.Next([]byte("get a\r\n"), &cmd)
	if len(cmd.Keys) != 1 || cap(cmd.Keys) > keptKeys {
		t.Errorf("%d keys with room for %d", len(cmd.Keys), cap(cmd.Keys))
	}
}

func TestParserDoesNotAllocate(t *testing.T) {
	p := Parser{}
	var cmd Command
	in := []byte("get a b c\r\nset a 1 2 3 noreply\r\nabc\r\ncas a 0 0 1 77\r\nx\r\nincr a 1\r\ntouch a 5\r\ndelete a\r\nget " + badKey + "\r\n" +
		"mg a k v t f Oabc\r\nms a 3 T60 F5 c k\r\nabc\r\nma YQ== b N60 J5 D2 v k q\r\nmd a q C5\r\nmg a Tx\r\nset a")
	out := make([]byte, 0, 1<<10)
	res := item.Result{Status: item.OK, Number: 12345}
	run := func() {
		out = out[:0]
		rest := in
		for {
			n, err := p.Next(rest, &cmd)
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				break
			}
			rest = rest[n:]
			switch cmd.Kind {
			case KindRetrieve:
				for _, key := range cmd.Keys {
					out = AppendValue(out, key, 5, in[:20], true, 99)
				}
				out = AppendEnd(out, &cmd.Form)
			case KindRequest:
				out = AppendAnswer(out, &cmd.Form, cmd.Shown, cmd.Flags, cmd.Request.Op, &res)
			case KindError:
				out = append(out, cmd.Error...)
			}
		}
		p = Parser{}
	}
	run()
	if n := testing.AllocsPerRun(200, run); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestBinaryDoesNotAllocate(t *testing.T) {
	p := Parser{}
	var cmd Command
	in := []byte(packet(binGetKQ, 0, "", "k", "") + packet(binSet, 0, stored(7, 0), "k", "value") + packet(binIncr, 5, counted(1, 2, 3), "k", "") +
		packet(binTouch, 0, u32(5), "k", "") + packet(binDeleteQ, 0, "", "k", "") + packet(binNoop, 0, "", "", ""))
	out := make([]byte, 0, 1<<10)
	res := item.Result{Status: item.OK, Item: item.Item{Version: 5, Value: in[:20]}}
	if n := testing.AllocsPerRun(200, func() {
		out = out[:0]
		for rest := in; len(rest) > 0; {
			n, err := p.Next(rest, &cmd)
			if n == 0 || err != nil {
				t.Fatal(n, err)
			}
			rest = rest[n:]
			if cmd.Kind == KindRequest {
				out = AppendAnswer(out, &cmd.Form, cmd.Shown, cmd.Flags, cmd.Request.Op, &res)
			} else {
				out = AppendNoop(out, &cmd.Form)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkGet(b *testing.B) {
	benchmarkParser(b, "get some-key-of-a-client\r\n")
}

func BenchmarkSet(b *testing.B) {
	benchmarkParser(b, "set some-key-of-a-client 0 0 100\r\n"+strings.Repeat("v", 100)+"\r\n")
}

func benchmarkParser(b *testing.B, in string) {
	var p Parser
	var cmd Command
	buf := []byte(in)
	for b.Loop() {
		if n, err := p.Next(buf, &cmd); n != len(buf) || err != nil {
			b.Fatal(n, err)
		}
	}
}
