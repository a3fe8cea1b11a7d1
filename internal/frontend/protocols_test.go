package frontend_test

import (
	"encoding/binary"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/frontend"
	"github.com/kumofs/kumofs/internal/router"
)

// packet is a request of the binary protocol (docs: internal/memproto/binary.go).
func packet(opcode byte, unique uint64, extras, key, value string) string {
	b := []byte{0x80, opcode}
	b = binary.BigEndian.AppendUint16(b, uint16(len(key)))
	b = append(b, byte(len(extras)), 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(len(extras)+len(key)+len(value)))
	b = append(b, "opaq"...)
	b = binary.BigEndian.AppendUint64(b, unique)
	return string(b) + extras + key + value
}

// wantPacket reads one answer: its opcode, status, and what is in it after the extras.
func (s *socket) wantPacket(opcode byte, status uint16, body string) (unique uint64) {
	s.t.Helper()
	h := make([]byte, 24)
	s.read(h)
	rest := make([]byte, binary.BigEndian.Uint32(h[8:]))
	s.read(rest)
	if h[0] != 0x81 || h[1] != opcode || binary.BigEndian.Uint16(h[6:]) != status || string(h[12:16]) != "opaq" || string(rest[h[4]:]) != body {
		s.t.Fatalf("header %x with %q, want opcode %x, status %d, %q", h, rest, opcode, status, body)
	}
	return binary.BigEndian.Uint64(h[16:])
}

func (s *socket) read(b []byte) {
	s.t.Helper()
	for n := 0; n < len(b); {
		m, err := s.r.Read(b[n:])
		if n += m; err != nil {
			s.t.Fatalf("%v after %q", err, b[:n])
		}
	}
}

const flagsAndNever = "\x00\x00\x00\x07\x00\x00\x00\x00"

// Answers of all protocols come in the order asked, however the servers answer.
func TestMetaInOrder(t *testing.T) {
	g := newRig(t, router.Options{}, frontend.Options{})
	g.shuffle()
	s := g.dial()
	var in, out strings.Builder
	for i := range 300 {
		key := "k" + string(rune('a'+i%26)) + strings.Repeat("x", i/26)
		in.WriteString("ms " + key + " 3 q F5\r\nval\r\nmg " + key + " v f k O" + key[:2] + "\r\nmg none" + key + " q v\r\nmd " + key + " q\r\nmg " + key + "\r\nmn\r\n")
		out.WriteString("VA 3 f5 k" + key + " O" + key[:2] + "\r\nval\r\nEN\r\nMN\r\n")
	}
	s.send(in.String())
	s.want(out.String())
	// A get after one that makes the item sees it.
	s.send("mg made N60 v\r\nget made\r\nma count N0 J5 v\r\nget count\r\nma count v\r\nmd made I\r\nmg made v\r\nmg made v\r\n")
	s.want("VA 0 W\r\n\r\nVALUE made 0 0\r\n\r\nEND\r\nVA 1\r\n5\r\nVALUE count 0 1\r\n5\r\nEND\r\nVA 1\r\n6\r\nHD\r\nVA 0 X W\r\n\r\nVA 0 Z X\r\n\r\n")
}

func TestBinaryInOrder(t *testing.T) {
	g := newRig(t, router.Options{}, frontend.Options{})
	g.shuffle()
	s := g.dial()
	for i := range 200 {
		key := "k" + string(rune('a'+i%26)) + strings.Repeat("x", i/26)
		s.send(packet(0x11, 0, flagsAndNever, key, "val") + // setq
			packet(0x0c, 0, "", key, "") + // getk
			packet(0x09, 0, "", "none"+key, "") + // getq
			packet(0x14, 0, "", key, "") + // deleteq
			packet(0x00, 0, "", key, "") + // get
			packet(0x0a, 0, "", "", "")) // noop
		s.wantPacket(0x0c, 0, key+"val")
		s.wantPacket(0x00, 1, "Not found")
		s.wantPacket(0x0a, 0, "")
	}
	s.send(packet(0x01, 0, flagsAndNever, "a", "1"))
	unique := s.wantPacket(0x01, 0, "")
	s.send(packet(0x01, unique+1, flagsAndNever, "a", "2") + packet(0x01, unique, flagsAndNever, "a", "3"))
	s.wantPacket(0x01, 2, "Data exists for key.")
	if s.wantPacket(0x01, 0, "") <= unique {
		t.Error("the unique does not grow")
	}
	// incr: delta, initial, exptime
	counter := string(binary.BigEndian.AppendUint64(nil, 2)) + string(binary.BigEndian.AppendUint64(nil, 40)) + "\x00\x00\x00\x00"
	s.send(packet(0x05, 0, counter, "n", "") + packet(0x05, 0, counter, "n", ""))
	s.wantPacket(0x05, 0, "\x00\x00\x00\x00\x00\x00\x00\x28")
	s.wantPacket(0x05, 0, "\x00\x00\x00\x00\x00\x00\x00\x2a")
	s.send(packet(0x0b, 0, "", "", "") + packet(0x08, 0, "", "", ""))
	s.wantPacket(0x0b, 0, frontend.MemcachedVersion)
	s.wantPacket(0x08, 0x20, "Auth failure.") // flush_all is not allowed
	s.send(packet(0x10, 0, "", "settings", ""))
	for {
		h := make([]byte, 24)
		s.read(h)
		s.read(make([]byte, binary.BigEndian.Uint32(h[8:])))
		if h[1] != 0x10 {
			t.Fatalf("%x", h)
		}
		if binary.BigEndian.Uint16(h[2:]) == 0 {
			break
		}
	}
	s.send(packet(0x07, 0, "", "", ""))
	s.wantPacket(0x07, 0, "")
	s.wantEnd()
}

func TestBinaryBreaksOff(t *testing.T) {
	g := newRig(t, router.Options{}, frontend.Options{})
	for _, bad := range []string{packet(0x00, 0, "", "", ""), packet(0x01, 0, "1234", "k", "v"), packet(0x00, 0, "", strings.Repeat("k", 251), "")} {
		s := g.dial()
		s.send(bad + packet(0x0a, 0, "", "", ""))
		s.wantPacket(bad[1], 4, "Invalid arguments")
		s.wantEnd()
	}
	s := g.dial()
	s.send(packet(0x0a, 0, "", "", "") + "version\r\n")
	s.wantPacket(0x0a, 0, "")
	s.wantEnd()
}

func TestBinaryPort(t *testing.T) {
	g := newRig(t, router.Options{}, frontend.Options{})
	g.on(func() {
		li, err := g.f.ListenBinary("127.0.0.1:0")
		if err != nil {
			t.Error(err)
			return
		}
		g.addr = li.Addr()
	})
	s := g.dial()
	s.send(packet(0x0a, 0, "", "", ""))
	s.wantPacket(0x0a, 0, "")
	s = g.dial()
	s.send("version\r\n")
	s.wantEnd()
}

func TestAuthentication(t *testing.T) {
	auth := func(user, password []byte) bool { return string(user) == "app" && string(password) == "secret" }
	g := newRig(t, router.Options{}, frontend.Options{Auth: auth, AllowFlushAll: true})
	const no = "CLIENT_ERROR unauthenticated\r\n"

	s := g.dial()
	s.send("get a\r\n" + "flush_all\r\nmg a v\r\nstats\r\nversion\r\nbogus\r\n" + "add a 0 0 10\r\napp secret\r\n")
	s.want(strings.Repeat(no, 7))
	s.send("set a 0 0 5000\r\n" + strings.Repeat("x", 5000) + "\r\n") // not even that is stored on its behalf
	s.want(no)
	s.send(set("any", "app wrong") + set("any", "app") + set("any", "app secret") + set("a", "1") + "get a any\r\n")
	s.want("CLIENT_ERROR authentication failure\r\nCLIENT_ERROR bad authentication token format\r\n" + stored + stored + hit("a", "1") + end)

	s = g.dial()
	s.send(packet(0x0b, 0, "", "", "") + packet(0x20, 0, "", "", "") + packet(0x21, 0, "", "PLAIN", "\x00app\x00wrong") + packet(0x21, 0, "", "CRAM-MD5", "\x00app\x00secret") +
		packet(0x21, 0, "", "PLAIN", "app secret") + packet(0x21, 0, "", "PLAIN", "\x00app\x00secret") + packet(0x00, 0, "", "a", "") + packet(0x20, 0, "", "", ""))
	s.wantPacket(0x0b, 0, frontend.MemcachedVersion)
	s.wantPacket(0x20, 0, "PLAIN")
	s.wantPacket(0x21, 0x20, "Auth failure.")
	s.wantPacket(0x21, 0x20, "Auth failure.")
	s.wantPacket(0x21, 0x20, "Auth failure.")
	s.wantPacket(0x21, 0, "Authenticated")
	s.wantPacket(0x00, 0, "1")
	s.wantPacket(0x20, 0, "PLAIN")

	s = g.dial()
	s.send(packet(0x00, 0, "", "a", "") + packet(0x0a, 0, "", "", ""))
	s.wantPacket(0x00, 0x20, "Auth failure.")
	s.wantEnd()
	g.on(func() {
		if n := g.f.Counters(); n.AuthCmds != 6 || n.AuthErrors != 4 {
			t.Errorf("%d authentications, %d failures", n.AuthCmds, n.AuthErrors)
		}
	})
}

// Without a list of users SASL is not known, as in a memcached without -S.
func TestNoSASL(t *testing.T) {
	g := newRig(t, router.Options{}, frontend.Options{})
	s := g.dial()
	s.send(packet(0x20, 0, "", "", "") + packet(0x21, 0, "", "PLAIN", "\x00a\x00b") + packet(0x0a, 0, "", "", ""))
	s.wantPacket(0x20, 0x81, "Unknown command")
	s.wantPacket(0x21, 0x81, "Unknown command")
	s.wantPacket(0x0a, 0, "")
}

// A binary value that is too large is refused and swallowed, and the old one is gone.
func TestBinaryTooLarge(t *testing.T) {
	g := newRig(t, router.Options{}, frontend.Options{MaxItemSize: 1000})
	s := g.dial()
	s.send(packet(0x01, 0, flagsAndNever, "a", "1"))
	s.wantPacket(0x01, 0, "")
	s.send(packet(0x02, 0, flagsAndNever, "a", strings.Repeat("x", 1001)) + packet(0x00, 0, "", "a", ""))
	s.wantPacket(0x02, 3, "Too large.")
	s.wantPacket(0x00, 0, "1")
	s.send(packet(0x11, 0, flagsAndNever, "a", strings.Repeat("x", 1001)) + packet(0x00, 0, "", "a", ""))
	s.wantPacket(0x11, 3, "Too large.")
	s.wantPacket(0x00, 1, "Not found")
}

func TestIdleBinary(t *testing.T) {
	g := newRig(t, router.Options{}, frontend.Options{IdleTimeout: 200 * time.Millisecond})
	c, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("an idle client read %d bytes, %v", n, err)
	}
}
