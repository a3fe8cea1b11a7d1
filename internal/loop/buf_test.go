package loop

import "testing"

// The pool keeps what is wanted, whatever else it has been given.
func TestPoolIsNotFullOfLargeBuffers(t *testing.T) {
	var p bufPool
	for range 2 * poolBytes >> maxClass {
		p.put(make([]byte, 0, 1<<maxClass))
	}
	for range 2 * poolBytes >> 14 {
		p.put(make([]byte, 0, 1<<14))
	}
	if p.kept > poolBytes {
		t.Fatalf("%d bytes are kept, %d at most", p.kept, poolBytes)
	}
	small := make([]byte, 0, 1<<minClass)
	for range 3 {
		p.put(small)
		if b := p.get(1); &b[:1][0] != &small[:1][0] {
			t.Fatal("a buffer that was just given back was made anew")
		}
	}
	kept := 0
	for _, f := range p.free {
		for _, b := range f {
			kept += cap(b)
		}
	}
	if kept != p.kept {
		t.Errorf("%d bytes are there, %d are counted", kept, p.kept)
	}
}

// What a connection sends does not move while it is put together, once it is known how
// much it is.
func TestOutputIsAsLargeAsUsual(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		server, client := r.loop(), r.loop()
		got := make(chan int, 16)
		var all int
		addr := r.listen(server, func(Conn) Handler {
			return &calls{data: func(_ Conn, b []byte) int {
				if all += len(b); all%20000 == 0 {
					got <- all
				}
				return len(b)
			}}
		})
		opened := make(chan Conn, 1)
		do(t, client, func() { client.Dial(addr, patience, &calls{open: func(c Conn) { opened <- c }}) })
		c := await(t, opened)
		for round := range 4 {
			moved := 0
			do(t, client, func() {
				for range 20 {
					c.Append(func(b []byte) []byte {
						n := cap(b)
						if b = append(b, make([]byte, 1000)...); cap(b) != n {
							moved++
						}
						return b
					})
				}
			})
			for await(t, got) != 20000*(round+1) {
			}
			drained := make(chan bool, 1)
			do(t, client, func() { c.OnDrain(0, func() { drained <- true }) })
			await(t, drained)
			if round > 0 && moved > 0 {
				t.Errorf("round %d: moved %d times", round, moved)
			}
		}
	})
}
