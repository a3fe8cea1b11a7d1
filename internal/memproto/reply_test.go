package memproto

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/kumofs/kumofs/internal/item"
)

// Every operation with every status has one line, or none where it is said.
func TestAppendResult(t *testing.T) {
	ok := map[item.Op]string{
		item.OpGet: "", item.OpGetAndTouch: "",
		item.OpSet: ReplyStored, item.OpAdd: ReplyStored, item.OpReplace: ReplyStored,
		item.OpAppend: ReplyStored, item.OpPrepend: ReplyStored, item.OpCAS: ReplyStored,
		item.OpIncr: "18446744073709551615\r\n", item.OpDecr: "18446744073709551615\r\n",
		item.OpTouch: ReplyTouched, item.OpDelete: ReplyDeleted,
		item.OpFlush: ReplyOK, item.OpOpenSession: ReplyOK,
		item.OpMetaGet: "",
	}
	lines := map[item.Status]string{
		item.NotFound: ReplyNotFound, item.NotStored: ReplyNotStored, item.Exists: ReplyExists, item.NonNumeric: ReplyNonNumeric,
		item.TooLarge: ReplyTooLarge, item.Failed: "SERVER_ERROR no disk\r\n", item.FateUnknown: ReplyFateUnknown,
		0: "SERVER_ERROR no disk\r\n", 200: "SERVER_ERROR no disk\r\n",
	}
	for op := item.Op(1); op.Valid(); op++ {
		res := item.Result{Status: item.OK, Number: 1<<64 - 1, Message: "no disk"}
		want, known := ok[op]
		if !known {
			t.Errorf("operation %d is not in this test", op)
		}
		if got := string(AppendResult([]byte("x"), op, &res)); got != "x"+want {
			t.Errorf("operation %d, OK: %q, want %q", op, got, want)
		}
		for status, want := range lines {
			if status == item.NotFound && op.Retrieves() {
				want = ""
			}
			res.Status = status
			if got := string(AppendResult([]byte("x"), op, &res)); got != "x"+want {
				t.Errorf("operation %d, status %d: %q, want %q", op, status, got, want)
			}
		}
	}
}

func TestMessagesStayOnTheirLine(t *testing.T) {
	for _, c := range []struct{ message, want string }{
		{"", "SERVER_ERROR internal error\r\n"},
		{"disk\r\nVALUE a 0 1\r\n", "SERVER_ERROR disk  VALUE a 0 1  \r\n"},
		{"a\x00b\x7fc\x80", "SERVER_ERROR a b c\x80\r\n"},
		{strings.Repeat("m", 10000), "SERVER_ERROR " + strings.Repeat("m", maxMessageText) + "\r\n"},
	} {
		if got := string(AppendServerError(nil, c.message)); got != c.want {
			t.Errorf("AppendServerError(%.40q) = %q, want %q", c.message, got, c.want)
		}
	}
	if got := string(AppendVersion(nil, &Form{}, "1.6\r\nx")); !isLine(got) {
		t.Errorf("AppendVersion = %q", got)
	}
}

func TestAppendValue(t *testing.T) {
	if got, want := string(AppendValue([]byte("x"), []byte("key"), 1<<32-1, []byte("a\r\nb"), false, 7)), "xVALUE key 4294967295 4\r\na\r\nb\r\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := string(AppendValue(nil, []byte("key"), 0, nil, true, 1<<64-1)), "VALUE key 0 0 18446744073709551615\r\n\r\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestAppendStat(t *testing.T) {
	f := &Form{}
	got := string(AppendStatSeconds(AppendStatUint(AppendStat(AppendStat(nil, f, "version", "1.6.45"), f, "domain\r\nsocket", "a\nb"), f, "pid", 42), f, "rusage_user", 12_000_345))
	want := "STAT version 1.6.45\r\nSTAT domain  socket a b\r\nSTAT pid 42\r\nSTAT rusage_user 12.000345\r\n"
	if got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// Every reply of the table is one line.
func TestRepliesAreLines(t *testing.T) {
	for _, r := range []string{
		ReplyStored, ReplyNotStored, ReplyExists, ReplyNotFound, ReplyDeleted, ReplyTouched, ReplyOK, ReplyEnd, ReplyReset,
		ReplyError, ReplyBadFormat, ReplyDeleteUsage, ReplyBadDataChunk, ReplyBadDelta, ReplyBadExptime, ReplyNonNumeric,
		ReplyFlushNotAllowed, ReplyShutdownMode, ReplyShutdownNotEnabled, ReplyMemlimitTooSmall, ReplyMemlimitNotBytes,
		ReplyTooLarge, ReplyFateUnknown,
	} {
		if !isLine(r) {
			t.Errorf("%q is not a line", r)
		}
	}
}

// An answer is what stands before a value, the value, and what stands behind it.
func TestAnswerInPieces(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	binaryGets := []byte{binGet, binGetQ, binGetK, binGetKQ, binGAT, binGATQ, binGATK, binGATKQ}
	metaWords := []string{"v", "k", "c", "t", "f", "s", "h", "l", "q", "Oabc", "T5", "N5", "R5", "u"}
	for range 5000 {
		value := bytes.Repeat([]byte{byte(r.Uint32())}, r.IntN(300))
		res := item.Result{Status: item.OK, Size: uint32(len(value)), Now: 1_700_000_000 + r.Int64N(10), Won: r.IntN(2) == 0, Item: item.Item{
			Version: r.Uint64() >> r.IntN(64), Unique: r.Uint64() * r.Uint64N(2), Flags: r.Uint32() >> r.IntN(32), Exptime: (1_700_000_000 + r.Int64N(20)) * r.Int64N(2),
			Stale: r.IntN(2) == 0, TokenSent: r.IntN(2) == 0, Value: value, Fetched: r.IntN(2) == 0, Accessed: uint32(1_700_000_000-r.Int64N(50)) * r.Uint32N(2),
		}}
		f := Form{Proto: Proto(r.IntN(3)), Quiet: r.IntN(2) == 0, WithCAS: r.IntN(2) == 0, Base64: r.IntN(2) == 0, Opaque: r.Uint32()}
		shown, flags := []byte(longKey[:1+r.IntN(MaxKey)]), []byte(nil)
		op := []item.Op{item.OpGet, item.OpGetAndTouch}[r.IntN(2)]
		var want []byte
		switch f.Proto {
		case Meta:
			f.Code, f.WithValue = 'g', true
			op = []item.Op{item.OpGet, item.OpMetaGet}[r.IntN(2)]
			r.Shuffle(len(metaWords), func(i, j int) { metaWords[i], metaWords[j] = metaWords[j], metaWords[i] })
			flags = []byte(" v " + strings.Join(metaWords[:r.IntN(len(metaWords))], " "))
			want = AppendAnswer([]byte("before"), &f, shown, flags, op, &res)
		case Binary:
			f.Code = binaryGets[r.IntN(len(binaryGets))]
			want = AppendAnswer([]byte("before"), &f, shown, flags, op, &res)
		default:
			want = AppendValue([]byte("before"), shown, res.Item.Flags, value, f.WithCAS, res.Item.CAS())
		}
		if !showsValue(&f, op) {
			t.Fatalf("%+v shows no value", f)
		}
		if got := appendInPieces([]byte("before"), &f, shown, flags, op, &res); !bytes.Equal(got, want) {
			t.Fatalf("%+v with flags %q, result %+v:\nin pieces %q\nwhole     %q", f, flags, res, got, want)
		}
	}
}

// showsValue tells whether a hit of op is answered with its value.
func showsValue(f *Form, op item.Op) bool {
	switch f.Proto {
	case Meta:
		return f.Code == 'g' && f.WithValue
	case Binary:
		return op == item.OpGet || op == item.OpGetAndTouch
	}
	return op.Retrieves()
}

// appendInPieces appends an answer with the value by itself.
func appendInPieces(dst []byte, f *Form, shown, flags []byte, op item.Op, res *item.Result) []byte {
	head := *res
	head.Item.Value = nil
	dst = AppendHead(dst, f, shown, flags, op, &head)
	return AppendTail(append(dst, res.Item.Value...), f)
}
