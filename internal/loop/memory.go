package loop

import (
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"
)

// MemNetwork joins loops of one process: those of NewMemory, for tests, and those of
// a Group. Addresses are any strings; "...:0" asks for a free number, and a listener at ":N" is reached
// as "anything:N". Its methods may be called from any goroutine.
type MemNetwork struct {
	mu        sync.Mutex
	listeners map[string]*memListener
	holes     map[string]bool
	last      int // number given out last
}

// NewMemNetwork makes a network with nobody in it.
func NewMemNetwork() *MemNetwork {
	return &MemNetwork{
		listeners: map[string]*memListener{},
		holes:     map[string]bool{},
		last:      40000,
	}
}

// Blackhole makes new dials to addr hang, as if its packets were dropped, or
// ends that. Connections that exist are not touched.
func (n *MemNetwork) Blackhole(addr string, on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.holes[addr] = on
}

func (n *MemNetwork) number() int {
	n.last++
	return n.last
}

func (n *MemNetwork) find(addr string) (li *memListener, hole bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	li = n.listeners[addr]
	if i := strings.LastIndexByte(addr, ':'); li == nil && i >= 0 {
		li = n.listeners[addr[i:]]
	}
	return li, n.holes[addr]
}

type memLoop struct {
	core
	net *MemNetwork
}

// NewMemory makes a loop whose connections are those of network.
func NewMemory(network *MemNetwork) Loop {
	l := &memLoop{net: network}
	l.init(newChanPoller(&l.core))
	return l
}

type memListener struct {
	net    *MemNetwork
	l      *core
	addr   string
	accept func(Conn) Handler
	closed bool // on the loop
}

func (l *memLoop) Listen(addr string, accept func(Conn) Handler) (Listener, error) {
	li, err := l.net.listen(&l.core, addr, accept)
	if err != nil {
		return nil, err
	}
	l.addListener(li)
	return li, nil
}

func (n *MemNetwork) listen(l *core, addr string, accept func(Conn) Handler) (*memListener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if host, ok := strings.CutSuffix(addr, ":0"); ok {
		addr = fmt.Sprintf("%s:%d", host, n.number())
	}
	if n.listeners[addr] != nil {
		return nil, listenError(addr, syscall.EADDRINUSE)
	}
	li := &memListener{net: n, l: l, addr: addr, accept: accept}
	n.listeners[addr] = li
	return li, nil
}

func (li *memListener) Addr() string { return li.addr }

func (li *memListener) Close() {
	if li.closed {
		return
	}
	li.closed = true
	li.net.mu.Lock()
	delete(li.net.listeners, li.addr)
	li.net.mu.Unlock()
	li.l.dropListener(li)
}

func (l *memLoop) Dial(addr string, timeout time.Duration, h Handler) Conn {
	li, hole := l.net.find(addr)
	return l.net.dial(&l.core, li, hole, addr, timeout, h)
}

// dial connects l to li; nil: nobody listens; hole: it is never told.
func (n *MemNetwork) dial(l *core, li *memListener, hole bool, addr string, timeout time.Duration, h Handler) Conn {
	n.mu.Lock()
	local := fmt.Sprintf("mem:%d", n.number())
	n.mu.Unlock()
	there, back := newMemPipe(), newMemPipe()
	t := newMemConn(l, back, there, local, addr)
	t.c = l.newConn(t, h, connecting)
	t.c.dialing(addr, timeout)
	if hole {
		return t.c
	}
	refused := func() { t.c.dialed(dialError(addr, syscall.ECONNREFUSED)) }
	if li == nil || !li.l.Post(func() {
		if li.closed {
			l.Post(refused)
			return
		}
		// Before accept, so that it comes before what the other side sends.
		l.Post(func() { t.c.dialed(nil) })
		s := newMemConn(li.l, there, back, addr, local)
		s.c = li.l.newConn(s, nil, open)
		s.c.accepted(li.accept)
		li.l.touch(s.c) // its first interest in reading
	}) {
		l.later(refused)
	}
	return t.c
}
