package load

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Options of a Load. Zero fields get defaults.
type Options struct {
	Addr string
	// Others are gateways that clients go on with when one closes their connection without an
	// answer. What it did not answer was not done then: it is asked for again.
	Others  []string
	Clients int           // 16
	Keys    int           // loaded before; clients share them out among themselves
	Pace    time.Duration // at least between two commands of one client; negative: none. 3 ms
	Timeout time.Duration // of an answer: 30 s
	Size    int           // of values, about: 100 bytes
	Seed    uint64
}

// Load is a run of clients against Addr.
type Load struct {
	opt  Options
	t    testing.TB
	base time.Time

	clients []*client
	hot     [hotKeys]atomic.Int64
	moved   atomic.Int64
	stop    chan struct{}
	wg      sync.WaitGroup
	once    sync.Once

	mu    sync.Mutex
	marks []mark
	extra []record // of Observe and the final reads
}

type mark struct {
	at   time.Duration
	what string
}

// record is one operation as a client saw it: at what times since base it was
// called and answered.
type record struct {
	client    int
	op        Op
	res       Result
	call, ret time.Duration
	more      bool // not the first key of a multi-get: its error is counted once
	maybe     bool // a flush of unknown outcome: see judgeFlushed
}

const (
	hotKeys = 16   // shared by all clients at one time
	hotOps  = 1200 // after so many operations a hot key is retired
	nearby  = 64   // keys that a client returns to again and again
)

// New makes a Load; Fill and Start come next.
func New(t testing.TB, opt Options) *Load {
	def := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	def(&opt.Clients, 16)
	def(&opt.Size, 100)
	if opt.Pace == 0 {
		opt.Pace = 3 * time.Millisecond
	}
	if opt.Timeout == 0 {
		opt.Timeout = 30 * time.Second
	}
	if opt.Seed == 0 {
		opt.Seed = uint64(time.Now().UnixNano())
	}
	t.Logf("load: %d clients, %d keys, seed %d", opt.Clients, opt.Keys, opt.Seed)
	return &Load{opt: opt, t: t, base: time.Now(), stop: make(chan struct{})}
}

// Now is the time since the Load was made: that of marks and errors.
func (l *Load) Now() time.Duration { return time.Since(l.base) }

// Mark notes what the test does now.
func (l *Load) Mark(format string, a ...any) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := mark{l.Now(), fmt.Sprintf(format, a...)}
	l.marks = append(l.marks, m)
	return m.at
}

// Key is the name of loaded key i.
func Key(i int) string { return fmt.Sprintf("k%07d", i) }

// pad makes a value of about size bytes that begins with tag and has a letter.
func pad(tag string, size int) string {
	return tag + strings.Repeat(".", max(1, size-len(tag)))
}

// Loaded is what Fill puts under a key.
func (l *Load) Loaded(key string) string { return pad("loaded-"+key+"-", l.opt.Size) }

// initial is what a key holds before the clients start.
func (l *Load) initial(key string) (string, bool) {
	if len(key) != 8 || key[0] != 'k' {
		return "", false
	}
	i, err := strconv.Atoi(key[1:])
	return l.Loaded(key), err == nil && i < l.opt.Keys
}

// Fill loads the keys; every one must be acknowledged.
func (l *Load) Fill() {
	l.t.Helper()
	start := time.Now()
	const conns = 4
	errs := make(chan error, conns)
	for part := range conns {
		var ops []Op
		for i := part; i < l.opt.Keys; i += conns {
			ops = append(ops, Op{Kind: Set, Key: Key(i), Value: l.Loaded(Key(i))})
		}
		go func() {
			var bad error
			err := Pipeline(l.opt.Addr, ops, l.opt.Timeout, func(i int, r Result) {
				if r.Status != Done && bad == nil {
					bad = fmt.Errorf("set %s: %v %s", ops[i].Key, r.Status, r.Error)
				}
			})
			errs <- errors.Join(err, bad)
		}()
	}
	for range conns {
		if err := <-errs; err != nil {
			l.t.Fatalf("loading %d keys: %v", l.opt.Keys, err)
		}
	}
	l.t.Logf("load: %d keys loaded in %v", l.opt.Keys, time.Since(start).Round(time.Millisecond))
}

// Start starts the clients.
func (l *Load) Start() {
	for i := range l.opt.Clients {
		c := &client{l: l, id: i, rnd: rand.New(rand.NewPCG(l.opt.Seed, uint64(i))), tokens: map[string]Result{}}
		l.clients = append(l.clients, c)
		l.wg.Go(c.run)
	}
	l.t.Cleanup(l.Stop)
}

// Stop ends the clients, each after its answer.
func (l *Load) Stop() {
	l.once.Do(func() { close(l.stop) })
	l.wg.Wait()
}

// Ops is how many operations have been answered with success so far.
func (l *Load) Ops() (n int64) {
	for _, c := range l.clients {
		n += c.ok.Load()
	}
	return n
}

// Run lets the load run for a time: part of the test's script, not a wait for
// something to become true.
func (l *Load) Run(d time.Duration) { time.Sleep(d) }

type client struct {
	l      *Load
	id     int
	rnd    *rand.Rand
	conn   *Conn
	at     int // of Addr and Others
	seq    int
	tokens map[string]Result // what this client read last of a key
	ok     atomic.Int64

	records []record
}

func (c *client) run() {
	defer func() {
		if c.conn != nil {
			c.conn.Close()
		}
	}()
	next := time.Now()
	for {
		select {
		case <-c.l.stop:
			return
		default:
		}
		if c.l.opt.Pace > 0 {
			if wait := time.Until(next); wait > 0 {
				time.Sleep(wait)
			} else {
				next = time.Now()
			}
			next = next.Add(c.l.opt.Pace)
		}
		if c.conn == nil {
			if !c.connect() { // the gateway is down: not an operation
				time.Sleep(20 * time.Millisecond)
				continue
			}
		}
		if c.rnd.IntN(20) == 0 {
			c.multiGet()
		} else {
			c.do(c.choose())
		}
	}
}

func (c *client) connect() bool {
	addr := c.l.opt.Addr
	if n := c.at % (len(c.l.opt.Others) + 1); n > 0 {
		addr = c.l.opt.Others[n-1]
	}
	conn, err := Dial(addr, c.l.opt.Timeout)
	if err != nil {
		c.at++
		return false
	}
	conn.Speak(AnyProtocol(c.rnd))
	c.conn = conn
	return true
}

// moves goes to another gateway, if there is one, when err says that this one has closed.
func (c *client) moves(err error) bool {
	if len(c.l.opt.Others) == 0 || broken(err) != closed {
		return false
	}
	c.conn.Close()
	c.conn = nil
	for range len(c.l.opt.Others) {
		if c.at++; c.connect() {
			c.l.moved.Add(1)
			return true
		}
	}
	return false
}

// Moved is how often a client went on with another gateway in the middle of an operation.
func (l *Load) Moved() int64 { return l.moved.Load() }

// own is one of this client's own keys, most often one of a few.
func (c *client) own() string {
	n, per := c.l.opt.Keys, c.l.opt.Keys/c.l.opt.Clients
	if per == 0 {
		return fmt.Sprintf("own-%d-%d", c.id, c.rnd.IntN(nearby))
	}
	i := c.rnd.IntN(per)
	if c.rnd.IntN(2) == 0 {
		i %= nearby
	}
	return Key((i*c.l.opt.Clients + c.id) % n)
}

// hotKey is one that all clients use just now.
func (c *client) hotKey() string {
	slot := c.rnd.IntN(hotKeys)
	return fmt.Sprintf("hot-%d-%d", slot, c.l.hot[slot].Add(1)/hotOps)
}

func (c *client) counter() string {
	if c.rnd.IntN(2) == 0 {
		return fmt.Sprintf("count-%d-%d", c.id, c.rnd.IntN(8))
	}
	slot := c.rnd.IntN(hotKeys / 4)
	return fmt.Sprintf("count-hot-%d-%d", slot, c.l.hot[slot].Load()/hotOps)
}

// value is one that nobody ever wrote before.
func (c *client) value() string {
	c.seq++
	return pad(fmt.Sprintf("c%d-%d-", c.id, c.seq), c.l.opt.Size)
}

func (c *client) choose() *Op {
	n := c.rnd.IntN(100)
	if n < 15 {
		op := &Op{Kind: Incr, Key: c.counter()}
		switch {
		case n < 4:
			op.Kind = Get
		case n < 6:
			op.Kind, op.Value = Add, "0"
		case n < 7:
			op.Kind = Delete
		}
		return op
	}
	key := c.own()
	if c.rnd.IntN(4) == 0 {
		key = c.hotKey()
	}
	switch {
	case n < 45:
		return &Op{Kind: Get, Key: key}
	case n < 75:
		return &Op{Kind: Set, Key: key, Value: c.value()}
	case n < 82:
		return &Op{Kind: Delete, Key: key}
	case n < 87:
		return &Op{Kind: Add, Key: key, Value: c.value()}
	case n < 91:
		c.seq++
		return &Op{Kind: Append, Key: key, Value: fmt.Sprintf("+c%d-%d", c.id, c.seq)}
	}
	tok, known := c.tokens[key]
	if !known {
		return &Op{Kind: Get, Key: key}
	}
	delete(c.tokens, key)
	return &Op{Kind: CAS, Key: key, Value: c.value(), Unique: tok.Unique, Expect: tok.Value}
}

func (c *client) do(op *Op) {
	call := c.l.Now()
	res, err := c.conn.Do(op)
	for tries := 0; err != nil && tries < movesMost && c.moves(err); tries++ {
		res, err = c.conn.Do(op)
	}
	ret := c.l.Now()
	if err != nil {
		c.disconnect()
		res = Result{Status: Unknown, Error: broken(err)}
	}
	c.note(*op, res, call, ret, false)
}

func (c *client) note(op Op, res Result, call, ret time.Duration, more bool) {
	c.records = append(c.records, record{c.id, op, res, call, ret, more, false})
	if res.Status < Unknown {
		c.ok.Add(1)
	}
	if op.Kind == Get && res.Status == Done {
		if len(c.tokens) > 256 {
			clear(c.tokens)
		}
		c.tokens[op.Key] = res
	}
}

// multiGet reads several keys at once: as many independent gets.
func (c *client) multiGet() {
	set := map[string]bool{}
	for range 2 + c.rnd.IntN(8) {
		set[c.own()] = true
	}
	set[c.hotKey()] = true
	var keys []string
	for k := range set {
		keys = append(keys, k)
	}
	call := c.l.Now()
	found, res, err := c.conn.MultiGet(keys)
	for tries := 0; err != nil && tries < movesMost && c.moves(err); tries++ {
		found, res, err = c.conn.MultiGet(keys)
	}
	ret := c.l.Now()
	if err != nil {
		c.disconnect()
		res = Result{Status: Unknown, Error: broken(err)}
	}
	for i, k := range keys {
		r := res
		if res.Error == "" {
			var hit bool
			if r, hit = found[k]; !hit {
				r = Result{Status: Missing}
			}
		}
		c.note(Op{Kind: Get, Key: k}, r, call, ret, i > 0)
	}
}

const closed = "connection broken"

// movesMost is how often one operation may meet a gateway that closes.
const movesMost = 3

func (c *client) disconnect() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// broken names what became of a connection, without its addresses.
func broken(err error) string {
	var n net.Error
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.ErrUnexpectedEOF):
		return closed
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &n) && n.Timeout():
		return "no answer in time"
	}
	return "connection: " + err.Error()
}

var numbers = regexp.MustCompile(`[0-9.:]*[0-9]`)

// kindOf is an error without what differs from one time to the next.
func kindOf(r *record) string {
	rw := "write"
	if r.op.Kind == Get {
		rw = "read"
	}
	return rw + ": " + numbers.ReplaceAllString(r.res.Error, "N")
}
