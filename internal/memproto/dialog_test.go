package memproto

import (
	"strings"
	"testing"
)

var (
	longKey = strings.Repeat("k", MaxKey)
	badKey  = longKey + "k"
)

type dialog struct {
	name   string
	in     string
	out    string
	closed bool
	ours   string // why memcached 1.6.18 says something else
}

// dialogs are what a client sends on one connection and what it gets. The same
// are put to a real memcached (differential_test.go), except where ours says
// that we chose to be different.
var dialogs = append([]dialog{
	{name: "nothing", in: "\r\n", out: ReplyError},
	{name: "nothing, LF", in: "\n", out: ReplyError},
	{name: "spaces", in: "   \r\n", out: ReplyError},
	{name: "a letter", in: "g\r\n", out: ReplyError},
	{name: "unknown word", in: "gett a\r\nbogus\r\n", out: ReplyError + ReplyError},
	{name: "capitals", in: "GET a\r\nSet a 0 0 1\r\n", out: ReplyError + ReplyError},
	{name: "zero byte in a word", in: "ge\x00t a\r\n", out: ReplyError},

	{name: "get without key", in: "get\r\nget \r\ngets\r\n", out: ReplyError + ReplyError + ReplyError},
	{name: "get miss", in: "get a\r\ngets a b\r\n", out: ReplyEnd + ReplyEnd},
	{name: "get", in: "set a 5 0 3\r\nabc\r\nget a\r\n", out: ReplyStored + "VALUE a 5 3\r\nabc\r\nEND\r\n"},
	{name: "get many", in: "set a 0 0 1\r\nA\r\nset b 1 0 0\r\n\r\nget a x b a\r\n",
		out: ReplyStored + ReplyStored + "VALUE a 0 1\r\nA\r\nVALUE b 1 0\r\n\r\nVALUE a 0 1\r\nA\r\nEND\r\n"},
	{name: "get, trailing spaces", in: "set a 16 0 1 \r\nx\r\nget a h zz \r\n", out: ReplyStored + "VALUE a 16 1\r\nx\r\nEND\r\n"},
	{name: "leading and many spaces", in: "  set   a 16  0 1\r\nx\r\n  get   a\r\n", out: ReplyStored + "VALUE a 16 1\r\nx\r\nEND\r\n"},
	{name: "LF only", in: "set a 0 0 3\nabc\r\nget a\n", out: ReplyStored + "VALUE a 0 3\r\nabc\r\nEND\r\n"},
	{name: "longest key", in: "set " + longKey + " 0 0 1\r\nx\r\nget " + longKey + "\r\n", out: ReplyStored + "VALUE " + longKey + " 0 1\r\nx\r\nEND\r\n"},
	{name: "key too long", in: "get " + badKey + "\r\n", out: ReplyBadFormat},
	{name: "key too long among others", in: "get a " + badKey + " b\r\n", out: ReplyBadFormat},
	{name: "key too long to gat", in: "gat 0 " + badKey + "\r\n", out: ReplyBadFormat},
	{name: "key too long, again", in: "get " + badKey + "\r\nget " + badKey + "\r\n", out: ReplyBadFormat + ReplyBadFormat,
		ours: "memcached drops the answers that it has not sent yet"},
	{name: "key too long to writes", in: "incr " + badKey + " 1\r\ntouch " + badKey + " 0\r\ndelete " + badKey + "\r\n",
		out: ReplyBadFormat + ReplyBadFormat + ReplyBadFormat},
	{name: "set with key too long", in: "set " + badKey + " 0 0 7\r\nversion\r\nversion\r\n", out: ReplyBadFormat + "VERSION 1.6.18\r\n",
		ours: "the body is swallowed, as 1.6.42 does"},
	{name: "set with key too long, noreply", in: "set " + badKey + " 0 0 7 noreply\r\nversion\r\nget a\r\n", out: ReplyEnd,
		ours: "the body is swallowed, as 1.6.42 does"},
	{name: "control characters in keys", in: "get a\tb\r\nset a\x01 0 0 1\r\nx\r\ndelete \x7f\r\nget a\x00b\r\n",
		out: ReplyBadFormat + ReplyBadFormat + ReplyBadFormat + ReplyBadFormat, ours: "memcached takes them, its protocol text does not"},
	{name: "high bytes in keys", in: "set \xc3\xa9\xff 0 0 1\r\nx\r\nget \xc3\xa9\xff\r\n", out: ReplyStored + "VALUE \xc3\xa9\xff 0 1\r\nx\r\nEND\r\n"},
	{name: "long get line", in: "get" + strings.Repeat(" k", 3000) + "\r\n", out: ReplyEnd},
	{name: "long gat line", in: "gat 0" + strings.Repeat(" k", 3000) + "\r\n", out: ReplyEnd, ours: "memcached takes it only if it comes in one piece"},

	{name: "set of nothing", in: "set a 0 0 0\r\n\r\nget a\r\n", out: ReplyStored + "VALUE a 0 0\r\n\r\nEND\r\n"},
	{name: "set with newlines", in: "set a 0 0 4\r\n\r\n\r\n\r\nget a\r\n", out: ReplyStored + "VALUE a 0 4\r\n\r\n\r\n\r\nEND\r\n"},
	{name: "set, noreply", in: "set a 0 0 1 noreply\r\nx\r\nget a\r\n", out: "VALUE a 0 1\r\nx\r\nEND\r\n"},
	{name: "set, another last word", in: "set a 0 0 1 noreplyx\r\nx\r\n", out: ReplyStored},
	{name: "set, most flags", in: "set a 4294967295 0 1\r\nx\r\nget a\r\n", out: ReplyStored + "VALUE a 4294967295 1\r\nx\r\nEND\r\n"},
	{name: "set, too many flags", in: "set a 4294967296 0 1\r\nx\r\n", out: ReplyBadFormat, ours: "memcached 1.6.18 cuts them to 32 bits"},
	{name: "set, bad flags", in: "set a -1 0 1\r\nx\r\n", out: ReplyBadFormat, ours: "the body is swallowed, as 1.6.42 does"},
	{name: "set, bad exptime", in: "set a 0 abc 1\r\nx\r\n", out: ReplyBadFormat, ours: "the body is swallowed, as 1.6.42 does"},
	{name: "set, signs", in: "set a +7 -0 +1\r\nx\r\nget a\r\n", out: ReplyStored + "VALUE a 7 1\r\nx\r\nEND\r\n"},
	{name: "set, negative exptime", in: "set a 0 -1 1\r\nx\r\nget a\r\n", out: ReplyStored + ReplyEnd},
	{name: "set, exptime long ago", in: "set a 0 2592001 1\r\nx\r\nget a\r\nadd a 0 0 1\r\ny\r\n", out: ReplyStored + ReplyEnd + ReplyStored},
	{name: "set, relative exptime", in: "set a 0 2592000 1\r\nx\r\nget a\r\n", out: ReplyStored + "VALUE a 0 1\r\nx\r\nEND\r\n"},
	{name: "set, absolute exptime", in: "set a 0 2147483647 1\r\nx\r\nget a\r\n", out: ReplyStored + "VALUE a 0 1\r\nx\r\nEND\r\n"},
	{name: "set, negative length", in: "set a 0 0 -1\r\nversion\r\n", out: ReplyBadFormat + "VERSION 1.6.18\r\n"},
	{name: "set, no length", in: "set a 0 0 abc\r\nabc\r\n", out: ReplyBadFormat + ReplyError},
	{name: "set, length of 2^31-2", in: "set a 0 0 2147483646\r\n", out: ReplyBadFormat},
	{name: "set, bad length, noreply", in: "set a 0 0 -1 noreply\r\nversion\r\n", out: ReplyBadFormat + "VERSION 1.6.18\r\n",
		ours: "it is answered, as 1.6.42 does"},
	{name: "set, too few words", in: "set a 0 0\r\nset\r\nadd a\r\nappend a 0 0\r\n", out: ReplyError + ReplyError + ReplyError + ReplyError},
	{name: "set, noreply for a length", in: "set a 0 0 noreply\r\nversion\r\n", out: ReplyBadFormat + "VERSION 1.6.18\r\n", ours: "it is answered, as 1.6.42 does"},
	{name: "set, too many words", in: "set a 0 0 1 noreply x\r\n", out: ReplyError},
	{name: "cas, too few words", in: "cas a 0 0 1\r\nx\r\n", out: ReplyError + ReplyError},
	{name: "data too long", in: "set a 0 0 3\r\nabcde\r\nversion\r\n", out: ReplyBadDataChunk + ReplyError + "VERSION 1.6.18\r\n"},
	{name: "data too short", in: "set a 0 0 3\r\nab\r\nversion\r\n", out: ReplyBadDataChunk + ReplyError},
	{name: "data with LF only", in: "set a 0 0 3\r\nabc\nversion\r\n", out: ReplyBadDataChunk + ReplyError},
	{name: "bad data, noreply", in: "set a 0 0 1 noreply\r\nxyz\r\nversion\r\n", out: ReplyError + "VERSION 1.6.18\r\n"},
	{name: "bad data leaves the old value", in: "set a 0 0 1\r\nx\r\nset a 0 0 1\r\nyz\r\n\r\nget a\r\n",
		out: ReplyStored + ReplyBadDataChunk + ReplyError + ReplyError + "VALUE a 0 1\r\nx\r\nEND\r\n"},
	{name: "set too large drops the old value", in: "set a 0 0 1\r\nx\r\nset a 0 0 1048577\r\n" + strings.Repeat("x", 1048577) + "\r\nget a\r\n",
		out: ReplyStored + ReplyTooLarge + ReplyEnd},
	{name: "set too large, noreply", in: "set a 0 0 1\r\nx\r\nset a 0 0 1048577 noreply\r\n" + strings.Repeat("x", 1048577) + "\r\nget a\r\n",
		out: ReplyStored + ReplyEnd},
	{name: "others too large leave it", in: "set a 0 0 1\r\nx\r\nappend a 0 0 1048577\r\n" + strings.Repeat("x", 1048577) + "\r\nreplace a 0 0 1048577\r\n" +
		strings.Repeat("x", 1048577) + "\r\nget a\r\n",
		out: ReplyStored + ReplyTooLarge + ReplyTooLarge + "VALUE a 0 1\r\nx\r\nEND\r\n"},
	{name: "largest value", in: "set a 0 0 1048576\r\n" + strings.Repeat("x", 1048576) + "\r\n", out: ReplyStored,
		ours: "memcached counts its header, key and suffix too"},
	{name: "append too large", in: "set a 0 0 1048570\r\n" + strings.Repeat("x", 1048570) + "\r\nappend a 0 0 7\r\n1234567\r\n", out: ReplyStored + ReplyTooLarge,
		ours: "memcached says NOT_STORED"},

	{name: "add, replace", in: "replace a 0 0 1\r\nx\r\nadd a 0 0 1\r\ny\r\nadd a 0 0 1\r\nz\r\nreplace a 2 0 1\r\nw\r\nget a\r\n",
		out: ReplyNotStored + ReplyStored + ReplyNotStored + ReplyStored + "VALUE a 2 1\r\nw\r\nEND\r\n"},
	{name: "append, prepend", in: "append a 0 0 1\r\nx\r\nprepend a 0 0 1\r\nx\r\nset a 4 0 1\r\nm\r\nappend a 9 -1 1\r\nr\r\nprepend a 9 -1 1\r\nl\r\nget a\r\n",
		out: ReplyNotStored + ReplyNotStored + ReplyStored + ReplyStored + ReplyStored + "VALUE a 4 3\r\nlmr\r\nEND\r\n"},
	{name: "cas", in: "cas a 0 0 1 1\r\nx\r\nset a 0 0 1\r\nx\r\ncas a 0 0 1 0\r\ny\r\ncas a 0 0 1 18446744073709551615 noreply\r\ny\r\nget a\r\n",
		out: ReplyNotFound + ReplyStored + ReplyExists + "VALUE a 0 1\r\nx\r\nEND\r\n"},
	{name: "cas, no unique", in: "cas a 0 0 1 x\r\ny\r\n", out: ReplyBadFormat, ours: "the body is swallowed, as 1.6.42 does"},

	{name: "incr, decr", in: "incr a 1\r\ndecr a 1\r\nset a 6 0 2\r\n10\r\ndecr a 1\r\nget a\r\nincr a 90\r\nincr a 1\r\nget a\r\ndecr a 500\r\nget a\r\n",
		out: ReplyNotFound + ReplyNotFound + ReplyStored + "9\r\nVALUE a 6 2\r\n9 \r\nEND\r\n99\r\n100\r\nVALUE a 6 3\r\n100\r\nEND\r\n0\r\nVALUE a 6 3\r\n0  \r\nEND\r\n"},
	{name: "incr wraps", in: "set a 0 0 20\r\n18446744073709551615\r\nincr a 1\r\nget a\r\n", out: ReplyStored + "0\r\nVALUE a 0 20\r\n0                   \r\nEND\r\n"},
	{name: "incr of strange numbers", in: "set a 0 0 4\r\n10 x\r\nincr a 1\r\nget a\r\nset a 0 0 4\r\n\t +1\r\nincr a 1\r\nset a 0 0 3\r\n +1\r\nincr a 1\r\nget a\r\n",
		out: ReplyStored + "11\r\nVALUE a 0 4\r\n11  \r\nEND\r\n" + ReplyStored + "2\r\n" + ReplyStored + "2\r\nVALUE a 0 3\r\n2  \r\nEND\r\n"},
	{name: "incr of no number", in: "set a 0 0 1\r\nx\r\nincr a 1\r\ndecr a 1\r\nset a 0 0 0\r\n\r\nincr a 1\r\nset a 0 0 2\r\n-1\r\nincr a 1\r\nset a 0 0 20\r\n18446744073709551616\r\nincr a 1\r\n",
		out: ReplyStored + ReplyNonNumeric + ReplyNonNumeric + ReplyStored + ReplyNonNumeric + ReplyStored + ReplyNonNumeric + ReplyStored + ReplyNonNumeric},
	{name: "incr of many noughts", in: "set a 0 0 25\r\n0000000000000000000000001\r\nincr a 1\r\nget a\r\n",
		out: ReplyStored + "2\r\nVALUE a 0 25\r\n2                        \r\nEND\r\n"},
	{name: "incr, bad delta", in: "incr a -1\r\nincr a x\r\nincr a 18446744073709551616\r\nincr a 1x\r\n", out: ReplyBadDelta + ReplyBadDelta + ReplyBadDelta + ReplyBadDelta},
	{name: "incr, odd delta", in: "set a 0 0 1\r\n1\r\nincr a +1\r\nincr a 18446744073709551615\r\nincr a 1\t2\r\n", out: ReplyStored + "2\r\n1\r\n2\r\n"},
	{name: "incr, words", in: "incr\r\nincr a\r\nincr a 1 2\r\nincr a 1 noreply 3\r\n", out: ReplyError + ReplyError + ReplyNotFound + ReplyError},
	{name: "incr, noreply", in: "incr a 1 noreply\r\nincr a x noreply\r\nversion\r\n", out: "VERSION 1.6.18\r\n"},

	{name: "touch", in: "touch a 0\r\nset a 1 0 1\r\nx\r\ntouch a 100\r\ntouch a 0 noreply\r\nget a\r\ntouch a -1\r\nget a\r\n",
		out: ReplyNotFound + ReplyStored + ReplyTouched + "VALUE a 1 1\r\nx\r\nEND\r\n" + ReplyTouched + ReplyEnd},
	{name: "touch, words", in: "touch a\r\ntouch a x\r\ntouch a 1 2 3\r\n", out: ReplyError + ReplyBadExptime + ReplyError},
	{name: "gat", in: "gat 100 a\r\nset a 1 0 1\r\nx\r\ngat 100 a b a\r\ngat -1 a\r\nget a\r\n",
		out: ReplyEnd + ReplyStored + "VALUE a 1 1\r\nx\r\nVALUE a 1 1\r\nx\r\nEND\r\nVALUE a 1 1\r\nx\r\nEND\r\nEND\r\n"},
	{name: "gat, words", in: "gat\r\ngat a b\r\n", out: ReplyError + ReplyBadExptime},
	{name: "gat without key", in: "gat 1\r\n", out: ReplyError, ours: "1.6.18 says END"},
	{name: "delete", in: "delete a\r\nset a 0 0 1\r\nx\r\ndelete a\r\nset a 0 0 1\r\nx\r\ndelete a 0\r\nset a 0 0 1\r\nx\r\ndelete a 0 noreply\r\ndelete a noreply\r\nget a\r\n",
		out: ReplyNotFound + ReplyStored + ReplyDeleted + ReplyStored + ReplyDeleted + ReplyStored + ReplyEnd},
	{name: "delete, words", in: "delete\r\ndelete a 5\r\ndelete a 0 x\r\ndelete a 5 noreply\r\ndelete a 0 noreply x\r\n",
		out: ReplyError + ReplyDeleteUsage + ReplyDeleteUsage + ReplyError},

	{name: "flush_all", in: "flush_all\r\nflush_all \r\nflush_all 0\r\nflush_all noreply\r\nflush_all 0 noreply\r\nflush_all 0 x\r\nversion\r\n",
		out: ReplyOK + ReplyOK + ReplyOK + ReplyOK + "VERSION 1.6.18\r\n"},
	{name: "flush_all, words", in: "flush_all abc\r\nflush_all noreply 0\r\nflush_all 0 1 2\r\n", out: ReplyBadExptime + ReplyBadExptime + ReplyError},
	{name: "verbosity", in: "verbosity 1\r\nverbosity 0 x\r\nverbosity 0 noreply\r\nverbosity\r\nverbosity a\r\nverbosity noreply\r\n",
		out: ReplyOK + ReplyOK + ReplyError + ReplyBadFormat},
	{name: "cache_memlimit", in: "cache_memlimit 64\r\ncache_memlimit a\r\ncache_memlimit 7\r\ncache_memlimit 1000000001\r\ncache_memlimit\r\ncache_memlimit 64 noreply\r\n",
		out: ReplyOK + ReplyError + ReplyMemlimitTooSmall + ReplyMemlimitNotBytes + ReplyError},
	{name: "shutdown", in: "shutdown\r\nshutdown graceful\r\n", out: ReplyShutdownNotEnabled + ReplyShutdownNotEnabled},
	{name: "version", in: "version\r\nversion x\r\n", out: "VERSION 1.6.18\r\nVERSION 1.6.18\r\n"},
	{name: "stats of nothing", in: "stats bogus\r\n", out: ReplyError},
	{name: "quit", in: "version\r\nquit\r\nversion\r\n", out: "VERSION 1.6.18\r\n", closed: true},
	{name: "quit now", in: "quit now\r\n", closed: true},

	{name: "HTTP GET", in: "GET / HTTP/1.1\r\nHost: x\r\n\r\n", closed: true},
	{name: "HTTP POST", in: "POST /x HTTP/1.0\r\n\r\nflush_all\r\n", closed: true},
	{name: "HTTP after a command", in: "version\r\nPOST /x HTTP/1.0\r\n\r\nflush_all\r\n", out: "VERSION 1.6.18\r\n", closed: true,
		ours: "memcached drops the answers that it has not sent yet"},
	{name: "get of an HTTP key", in: "get / HTTP/1.1\r\n", out: ReplyEnd},
	{name: "line too long", in: strings.Repeat("x", 3000), closed: true},
	{name: "line too long, with its end", in: strings.Repeat("x", 3000) + "\r\n", closed: true, ours: "memcached takes it if it comes in one piece"},
	{name: "longest line", in: strings.Repeat("x", 2047) + "\r\n", out: ReplyError},
	{name: "get line too long", in: "get " + strings.Repeat("k ", maxLine/2) + "\r\n", closed: true, ours: "memcached has no bound"},
	{name: "binary later", in: "version\r\n\x80\x0b\r\n", out: "VERSION 1.6.18\r\n" + ReplyError},
}, append(metaDialogs, binaryDialogs...)...)

func TestDialogs(t *testing.T) {
	for _, d := range dialogs {
		t.Run(d.name, func(t *testing.T) {
			for _, p := range []Parser{{}, {Whole: 1, PartSize: 1}, {Whole: 3, PartSize: 2}} {
				f := newFake(1_700_000_000)
				f.parser = p
				out, closed := f.serve([]byte(d.in))
				if string(out) != d.out || closed != d.closed {
					t.Errorf("answers %.300q closed %v, want %.300q closed %v; values above %d in parts", out, closed, d.out, d.closed, p.Whole)
				}
			}
		})
	}
}
