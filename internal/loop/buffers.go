package loop

import "math/bits"

const (
	scratchSize = 128 << 10 // bytes one read can take
	readBudget  = 256 << 10 // bytes read of one connection in one turn
	flushBudget = 1 << 20   // bytes written to one connection in one turn

	// smallTail is the most unconsumed input that is moved to the scratch buffer
	// before the next read. A longer one stays and is read behind, so that a
	// large value is not copied again with each part of it that arrives.
	smallTail = 4 << 10

	minClass  = 12       // 4 KiB
	maxClass  = 22       // 4 MiB; what is larger goes to the collector
	poolBytes = 16 << 20 // kept in all

	// maxUsual is the most room that a connection gets because it needed as much lately.
	maxUsual = 64 << 10
)

// bufPool keeps buffers in classes by powers of two. A connection holds one only
// while it has something in it, so what is needed is about as much as one turn
// writes, however many connections there are.
type bufPool struct {
	free [maxClass + 1][][]byte
	kept int
}

// get returns an empty buffer with room for n bytes or more.
func (p *bufPool) get(n int) []byte {
	class := max(minClass, bits.Len(uint(max(n, 1)-1)))
	if class > maxClass {
		return make([]byte, 0, n)
	}
	if f := p.free[class]; len(f) > 0 {
		b := f[len(f)-1]
		f[len(f)-1] = nil
		p.free[class] = f[:len(f)-1]
		p.kept -= cap(b)
		return b
	}
	return make([]byte, 0, 1<<class)
}

// put takes b back; nobody may use it any more.
func (p *bufPool) put(b []byte) {
	class := bits.Len(uint(cap(b))) - 1 // what it surely has room for
	if class < minClass || class > maxClass {
		return
	}
	// Larger ones make room for it: were the pool full of those that are seldom
	// wanted, each of the others would be made anew.
	for larger := maxClass; larger > class && p.kept+cap(b) > poolBytes; larger-- {
		for f := p.free[larger]; len(f) > 0 && p.kept+cap(b) > poolBytes; f = p.free[larger] {
			p.kept -= cap(f[len(f)-1])
			f[len(f)-1] = nil
			p.free[larger] = f[:len(f)-1]
		}
	}
	if p.kept+cap(b) > poolBytes {
		return
	}
	p.free[class] = append(p.free[class], b[:0])
	p.kept += cap(b)
}

// grow returns b with room for n more bytes. If it had to move, the old buffer
// has gone back to the pool.
func (p *bufPool) grow(b []byte, n int) []byte {
	if cap(b)-len(b) >= n {
		return b
	}
	g := append(p.get(max(len(b)+n, 2*cap(b))), b...)
	p.put(b)
	return g
}
