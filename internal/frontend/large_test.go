package frontend_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/frontend"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/router"
	"github.com/kumofs/kumofs/internal/wire"
)

const largeLimit = 4 << 20

// newLargeRig is a frontend with a Backend instead of servers. random is nil for
// one that answers at once.
func newLargeRig(t testing.TB, random *rand.Rand, opt frontend.Options) (*rig, *backend) {
	t.Helper()
	b := &backend{shelf: newShelf(false), random: random}
	if opt.MaxItemSize == 0 {
		opt.MaxItemSize = largeLimit
	}
	g := newRig(t, router.Options{Backend: b}, opt)
	g.on(func() { b.loop = g.l })
	return g, b
}

func (g *rig) empty() {
	g.t.Helper()
	g.settled("something is still counted", func() bool {
		s := g.r.Stats()
		return g.f.Used() == 0 && g.f.Input() == 0 && s.Bytes == 0 && s.Outstanding == 0
	})
}

// pattern are n bytes that are not the same anywhere.
func pattern(n int, seed uint64) []byte {
	b := make([]byte, n+8)
	for i := 0; i < n; i += 8 {
		seed = seed*6364136223846793005 + 1442695040888963407
		binary.LittleEndian.PutUint64(b[i:], seed)
	}
	return b[:n]
}

// talker makes random commands.
type talker struct {
	*rand.Rand
	keys []string
	sync bool // every answer comes before the next command is begun
	bad  bool
}

func (r *talker) key() string { return r.keys[r.IntN(len(r.keys))] }

func (r *talker) one(words ...string) string { return words[r.IntN(len(words))] }

func (r *talker) value() []byte {
	sizes := []int{0, 1, 10, 1000, item.ChunkSize - 1, item.ChunkSize + 1, 300_000, item.MaxWhole - 1, item.MaxWhole, item.MaxWhole + 1,
		item.MaxWhole + item.ChunkSize, item.MaxWhole + item.ChunkSize - 1, 3 << 20, largeLimit - 1, largeLimit, largeLimit + 1}
	n := sizes[r.IntN(len(sizes))]
	if r.IntN(2) == 0 {
		n = min(n, 2000)
	}
	return pattern(n, r.Uint64())
}

func (r *talker) text() []byte {
	noreply := r.one("", "", " noreply")
	switch r.IntN(16) {
	case 0, 1, 2, 3:
		v := r.value()
		return fmt.Appendf(nil, "%s %s %d %d %d%s\r\n%s%s", r.one("set", "set", "set", "add", "replace", "append", "prepend"),
			r.key(), r.IntN(100), r.IntN(2)*5000, len(v), noreply, v, r.end())
	case 4:
		v := r.value()
		return fmt.Appendf(nil, "cas %s 1 0 %d %d%s\r\n%s%s", r.key(), len(v), uint64(r.IntN(4))<<20, noreply, v, r.end())
	case 5, 6, 7, 8:
		return fmt.Appendf(nil, "%s %s\r\n", r.one("get", "gets"), r.key())
	case 9:
		return fmt.Appendf(nil, "%s %s %s %s %s\r\n", r.one("get", "gets"), r.key(), r.key(), r.key(), r.key())
	case 10:
		return fmt.Appendf(nil, "%s 5000 %s\r\n", r.one("gat", "gats"), r.key())
	case 11:
		return fmt.Appendf(nil, "%s 0 %s %s\r\n", r.one("gat", "gats"), r.key(), r.key())
	case 12:
		return fmt.Appendf(nil, "touch %s 7000%s\r\n", r.key(), noreply)
	case 13:
		return fmt.Appendf(nil, "delete %s%s\r\n", r.key(), noreply)
	case 14:
		return fmt.Appendf(nil, "incr %s 1%s\r\n", r.key(), noreply)
	}
	return []byte(r.one("flush_all\r\n", "version\r\n", "stats reset\r\n", "nonsense\r\n"))
}

// end is the end of a data block.
func (r *talker) end() string {
	if r.bad && r.IntN(8) == 0 {
		return "xy"
	}
	return "\r\n"
}

func (r *talker) flags(all ...string) string {
	var b strings.Builder
	for _, f := range all {
		if r.IntN(2) == 0 {
			b.WriteString(" " + f)
		}
	}
	return b.String()
}

func (r *talker) meta() []byte {
	key, flags := r.key(), ""
	if r.IntN(4) == 0 {
		key, flags = base64.StdEncoding.EncodeToString([]byte(key)), " b"
	}
	switch r.IntN(10) {
	case 0, 1, 2:
		v := r.value()
		flags += r.flags("c", "k", "s", "q", "O1", "F7", "T5000") + r.one("", "", " ME", " MA", " MP", " MR", " MA N0", " C1048576", " E77")
		if r.sync {
			flags += r.one("", "", " I")
		}
		return fmt.Appendf(nil, "ms %s %d%s\r\n%s%s", key, len(v), flags, v, r.end())
	case 3, 4, 5, 6:
		flags += r.one("", " v", " v") + r.flags("q", "c", "f", "k", "s", "t", "O22", "h", "l", "u")
		if r.IntN(3) == 0 {
			flags += r.one(" T6000", " N30", " E5")
		}
		if r.sync {
			flags += r.one("", "", " R9000")
		}
		return fmt.Appendf(nil, "mg %s%s\r\n", key, flags)
	case 7:
		if r.sync {
			flags += r.one("", " I", " I T90", " x", " x I")
		}
		return fmt.Appendf(nil, "md %s%s%s\r\n", key, flags, r.flags("q", "k", "O3"))
	case 8:
		return fmt.Appendf(nil, "me %s%s\r\n", key, flags)
	}
	return []byte(r.one("mn\r\n", "ma "+r.key()+" v N0 J5\r\n"))
}

func (r *talker) binary() []byte {
	key, opaque, extras := r.key(), r.Uint32(), binary.BigEndian.AppendUint32
	unique := uint64(0)
	if r.IntN(5) == 0 {
		unique = uint64(r.IntN(4)) << 20
	}
	switch r.IntN(10) {
	case 0, 1, 2:
		code := []byte{1, 1, 2, 3, 0x11, 0x12, 0x13}[r.IntN(7)]
		return bin(code, key, extras(extras(nil, 9), 0), r.value(), unique, opaque)
	case 3:
		return bin([]byte{0x0e, 0x0f, 0x19, 0x1a}[r.IntN(4)], key, nil, r.value(), unique, opaque)
	case 4, 5, 6:
		return bin([]byte{0, 9, 0x0c, 0x0d}[r.IntN(4)], key, nil, nil, 0, opaque)
	case 7:
		return bin([]byte{0x1c, 0x1d, 0x1e, 0x23, 0x24}[r.IntN(5)], key, extras(nil, 5000), nil, 0, opaque)
	case 8:
		return bin([]byte{4, 0x14}[r.IntN(2)], key, nil, nil, unique, opaque)
	}
	return bin([]byte{0x0a, 0x0b, 0x08}[r.IntN(3)], "", nil, nil, 0, opaque)
}

// talk sends input in pieces of any length and reads what it is answered, until
// the end of the connection, not always at once.
func (g *rig) talk(r *rand.Rand, input []byte) []byte {
	g.t.Helper()
	s := g.dial()
	s.SetDeadline(time.Now().Add(3 * time.Minute))
	seed := r.Uint64()
	go func() {
		r := rand.New(rand.NewPCG(seed, 1))
		for len(input) > 0 {
			n := 1 + r.IntN(1<<r.IntN(20))
			n = min(n, len(input))
			if _, err := s.Conn.Write(input[:n]); err != nil {
				return
			}
			input = input[n:]
			if r.IntN(20) == 0 {
				time.Sleep(time.Millisecond)
			}
		}
	}()
	var out []byte
	b := make([]byte, 1<<20)
	for {
		n, err := s.Conn.Read(b[:1+r.IntN(len(b))])
		out = append(out, b[:n]...)
		if err == io.EOF {
			return out
		}
		if err != nil {
			g.t.Fatalf("after %d bytes of answers: %v", len(out), err)
		}
		if r.IntN(100) == 0 {
			time.Sleep(10 * time.Millisecond)
		}
	}
}

func differ(t *testing.T, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	i := 0
	for i < len(got) && i < len(want) && got[i] == want[i] {
		i++
	}
	from := max(0, i-100)
	t.Fatalf("%d bytes of answers, want %d; from byte %d on they differ: %.300q, want %.300q", len(got), len(want), i, got[from:min(len(got), i+200)], want[from:min(len(want), i+200)])
}

// Whatever is sent, the answers are those of a server with whole values.
func TestRandomWithLargeValues(t *testing.T) {
	seeds := 2
	if testing.Short() {
		seeds = 1
	}
	for _, proto := range []string{"text", "meta", "binary"} {
		for _, later := range []bool{false, true} {
			for seed := range seeds {
				t.Run(fmt.Sprintf("%s/later=%v/%d", proto, later, seed), func(t *testing.T) {
					r := rand.New(rand.NewPCG(uint64(seed), 7))
					var order *rand.Rand
					if later {
						order = rand.New(rand.NewPCG(uint64(seed), 2))
					}
					opt := frontend.Options{MaxItemSize: largeLimit, AllowFlushAll: true}
					if seed%2 == 1 {
						opt.KeyPrefix = "before:"
					}
					g, _ := newLargeRig(t, order, opt)
					talk := &talker{Rand: r, sync: !later, bad: true, keys: []string{"a", "b", "c", strings.Repeat("k", 180)}}
					var input []byte
					for range 60 {
						switch proto {
						case "text":
							input = append(input, talk.text()...)
						case "meta":
							input = append(input, talk.meta()...)
						case "binary":
							input = append(input, talk.binary()...)
						}
					}
					if proto == "binary" {
						input = append(input, bin(7, "", nil, nil, 0, 1)...)
					} else {
						input = append(input, "quit\r\n"...)
					}
					want := answers(input, opt, newShelf(true))
					differ(t, g.talk(r, input), want)
					g.empty()
				})
			}
		}
	}
}

// A chunk, the marker or the command that cannot be stored: the client is told, the
// rest of the value is not taken for commands, and the next one goes on.
func TestChunkThatCannotBeStored(t *testing.T) {
	const size = item.MaxWhole + 3*item.ChunkSize + 5
	chunks := (size + item.ChunkSize - 1) / item.ChunkSize
	v := string(pattern(size, 1))
	for _, later := range []bool{false, true} {
		for n := 0; n <= chunks+1; n++ {
			t.Run(fmt.Sprintf("later=%v/%d", later, n), func(t *testing.T) {
				var order *rand.Rand
				if later {
					order = rand.New(rand.NewPCG(uint64(n), 2))
				}
				g, b := newLargeRig(t, order, frontend.Options{})
				g.on(func() {
					b.fail = func(r *wire.Request) *item.Result {
						_, _, i, isChunk := item.ParseChunkKey(r.Key)
						if isChunk && (i == n || n == chunks && i == -1) || n > chunks && r.Has(item.Large) {
							return &item.Result{Status: item.Failed, Message: "no"}
						}
						return nil
					}
				})
				const no = "SERVER_ERROR no\r\n"
				s := g.dial()
				s.send("set k 0 0 2\r\nme\r\nget k\r\n" + set("k", v) + "get k\r\n" +
					fmt.Sprintf("set k 0 0 %d noreply\r\n%s\r\n", size, v) +
					fmt.Sprintf("ms k %d q\r\n%s\r\nmn\r\n", size, v) + set("k", "you") + "get k\r\n")
				s.want(stored + hit("k", "me") + end + no + hit("k", "me") + end + no + "MN\r\n" + stored + hit("k", "you") + end)
				s.Close()
				g.empty()
			})
		}
	}
}

// Who goes away, at any time, leaves nothing behind.
func TestGoneWithLargeValues(t *testing.T) {
	seeds := 10
	if testing.Short() {
		seeds = 3
	}
	for _, later := range []bool{false, true} {
		t.Run(fmt.Sprint("later=", later), func(t *testing.T) {
			var order *rand.Rand
			if later {
				order = rand.New(rand.NewPCG(1, 2))
			}
			g, _ := newLargeRig(t, order, frontend.Options{AllowFlushAll: true})
			for seed := range seeds {
				r := rand.New(rand.NewPCG(uint64(seed), 3))
				talk := &talker{Rand: r, bad: true, keys: []string{"a", "b"}}
				var input []byte
				for range 20 {
					input = append(input, talk.text()...)
				}
				s := g.dial()
				io.WriteString(s.Conn, set("a", string(pattern(largeLimit, 1)))+set("b", string(pattern(largeLimit, 2))))
				s.want(stored + stored)
				s.SetDeadline(time.Now().Add(time.Duration(r.IntN(50)) * time.Millisecond))
				go s.Conn.Write(input)
				if r.IntN(2) == 0 {
					io.Copy(io.Discard, s.Conn)
				} else {
					time.Sleep(time.Duration(r.IntN(50)) * time.Millisecond)
				}
				s.Close()
				g.empty()
			}
		})
	}
}

// A client that does not read large values does not make the frontend hold them.
func TestLargeValuesThatAreNotRead(t *testing.T) {
	for name, in := range map[string]string{
		"get":       strings.Repeat("get k\r\n", 20),
		"multi-get": "get" + strings.Repeat(" k", 20) + "\r\n",
		"gat":       strings.Repeat("gat 0 k\r\n", 20),
		"mg":        strings.Repeat("mg k v\r\n", 20),
	} {
		t.Run(name, func(t *testing.T) {
			g, _ := newLargeRig(t, rand.New(rand.NewPCG(1, 2)), frontend.Options{})
			v := string(pattern(largeLimit, 1))
			s := g.dial()
			s.send(set("k", v))
			s.want(stored)
			s.send(in)
			time.Sleep(300 * time.Millisecond)
			var used int
			g.on(func() { used = g.f.Used() })
			if used > 20<<20 {
				t.Errorf("%d MiB are held", used>>20)
			}
			other := g.dial()
			other.send("get nothing\r\n" + set("other", v) + "get other\r\n")
			other.want(end + stored + hit("other", v) + end)
			for i := range 20 {
				switch {
				case name == "mg":
					s.want(fmt.Sprintf("VA %d\r\n%s\r\n", len(v), v))
				case name == "multi-get" && i < 19:
					s.want(hit("k", v))
				default:
					s.want(hit("k", v) + end)
				}
			}
			s.Close()
			other.Close()
			g.empty()
		})
	}
}

// Many values on their way in at once: together they are more than clients may hold,
// and none waits for another.
func TestManyUploadsAtOnce(t *testing.T) {
	const clients = 150
	g, _ := newLargeRig(t, rand.New(rand.NewPCG(1, 2)), frontend.Options{})
	v := string(pattern(item.MaxWhole+100_000, 1))
	var all []*socket
	for i := range clients {
		s := g.dial()
		s.send(fmt.Sprintf("set k%d 0 0 %d\r\n%s", i, len(v), v[:len(v)/2]))
		all = append(all, s)
	}
	for i, s := range all {
		go io.WriteString(s.Conn, v[len(v)/2:]+fmt.Sprintf("\r\nget k%d\r\n", i))
	}
	for i, s := range all {
		s.want(stored + hit(fmt.Sprint("k", i), v) + end)
		s.Close()
	}
	g.empty()
}

// Chunks that are gone when a value is read: said in the place of the value as long
// as nothing of it is out, else the connection ends.
func TestChunksThatAreGone(t *testing.T) {
	const size = item.MaxWhole + 1
	for _, later := range []bool{false, true} {
		for _, missing := range []int{0, 3, 16} {
			t.Run(fmt.Sprintf("later=%v/%d", later, missing), func(t *testing.T) {
				var order *rand.Rand
				if later {
					order = rand.New(rand.NewPCG(uint64(missing), 2))
				}
				g, b := newLargeRig(t, order, frontend.Options{})
				v := string(pattern(size, 1))
				s := g.dial()
				s.send(set("k", v) + set("whole", v) + set("small", "s"))
				s.want(stored + stored + stored)
				g.on(func() {
					for key := range b.items {
						if user, _, i, ok := item.ParseChunkKey([]byte(key)); ok && i == missing && string(user) == "k" {
							delete(b.items, key)
						}
					}
				})
				const gone = "SERVER_ERROR the value was replaced or removed while it was being read\r\n"
				s.send("get small k whole small\r\nmg k v O7\r\ngat 0 k\r\nget whole\r\n")
				if missing == 0 {
					s.want(hit("small", "s") + gone + gone + gone + hit("whole", v) + end)
					s.Close()
				} else {
					s.want(hit("small", "s") + fmt.Sprintf("VALUE k 0 %d\r\n%s", size, v[:missing*item.ChunkSize]))
					s.wantEnd()
				}
				g.empty()
			})
		}
	}
}

// Who has to authenticate sends large values afterwards, not before.
func TestLargeValuesOfStrangers(t *testing.T) {
	g, b := newLargeRig(t, nil, frontend.Options{Auth: func(user, password []byte) bool { return string(user) == "me" && string(password) == "pw" }})
	v := string(pattern(3<<20, 1))
	s := g.dial()
	const no = "CLIENT_ERROR unauthenticated\r\n"
	s.send(set("k", v) + "get k\r\n" + set("auth", "me pw") + set("k", v) + "get k\r\n")
	s.want(no + no + stored + stored + hit("k", v) + end)
	s.Close()
	p := g.dial()
	chunks := 0
	g.on(func() { chunks = len(b.items) })
	go p.Conn.Write(bin(1, "k2", make([]byte, 8), []byte(v), 0, 1))
	if out, _ := io.ReadAll(p.r); len(out) < 24 || out[7] != 0x20 {
		t.Errorf("%q", out)
	}
	g.on(func() {
		if len(b.items) != chunks {
			t.Error("a stranger has stored something")
		}
	})
	g.empty()
}

// What many clients that read nothing hold does not stop uploads, nor do uploads
// stop them.
func TestUploadsInACrowd(t *testing.T) {
	g, _ := newLargeRig(t, rand.New(rand.NewPCG(1, 2)), frontend.Options{})
	v := string(pattern(largeLimit, 1))
	s := g.dial()
	s.send(set("k", v))
	s.want(stored)
	var idle []*socket
	for range 120 {
		c := g.dial()
		c.send("get k\r\n")
		idle = append(idle, c)
	}
	g.settled("it is not crowded", func() bool { return g.f.Used() > 64<<20 })
	s.send("get none\r\n" + set("other", v) + "get other\r\n" + set("other", "small") + "get other k\r\n")
	s.want(end + stored + hit("other", v) + end + stored + hit("other", "small") + hit("k", v) + end)
	for _, c := range idle[:5] {
		c.want(hit("k", v) + end)
	}
	for _, c := range append(idle, s) {
		c.Close()
	}
	g.empty()
}
