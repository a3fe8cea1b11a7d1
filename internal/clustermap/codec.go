package clustermap

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The encodings of Map, Delta and Partition: a version byte, then a table of
// every server ID that occurs, then the contents, in which servers are indices
// into the table. Integers are varints, but for IDs, which are 8 bytes, big
// endian. The same value always gives the same bytes.
//
// Decoders take any bytes: counts are checked against the bytes that are left
// before anything is made for them, and what decodes may still break the
// map's invariants: Validate tells.

const codecVersion = 1

// ErrEncoding is wrapped by all errors of the decoders.
var ErrEncoding = errors.New("bad encoding of the cluster map")

// Flags of an encoded partition.
const (
	partActive = 1 << iota
	partLastKnownSame
	partAssignedSame
	partJoining
	partLastPrimaryFirst
	partAwaited
	partFlags = 1<<iota - 1
)

// encoder appends to b and collects the table of IDs.
type encoder struct {
	b     []byte
	index map[ServerID]uint64
	ids   []ServerID
}

func (e *encoder) uint(v uint64)  { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) int(v int64)    { e.b = binary.AppendVarint(e.b, v) }
func (e *encoder) fixed(v uint64) { e.b = binary.BigEndian.AppendUint64(e.b, v) }
func (e *encoder) byte(v byte)    { e.b = append(e.b, v) }

func (e *encoder) string(s string) {
	e.uint(uint64(len(s)))
	e.b = append(e.b, s...)
}

// id refers to a server by its index. The zero ID is in the table like any other.
func (e *encoder) id(id ServerID) {
	i, ok := e.index[id]
	if !ok {
		i = uint64(len(e.ids))
		e.index[id] = i
		e.ids = append(e.ids, id)
	}
	e.uint(i)
}

func (e *encoder) list(ids []ServerID) {
	e.uint(uint64(len(ids)))
	for _, id := range ids {
		e.id(id)
	}
}

func (e *encoder) server(s *Server) {
	e.id(s.ID)
	e.string(s.Addr)
	e.string(s.StreamAddr)
	e.uint(s.Incarnation)
	e.fixed(s.RunID)
	e.string(s.Zone)
	e.byte(byte(s.State))
}

func (e *encoder) partition(p *Partition) {
	var flags byte
	if p.Active {
		flags |= partActive
	}
	if equalLists(p.LastKnown, p.Replicas) {
		flags |= partLastKnownSame
	}
	if equalLists(p.Assigned, p.Replicas) {
		flags |= partAssignedSame
	}
	if len(p.Joining) > 0 {
		flags |= partJoining
	}
	if p.LastPrimary == p.Primary() {
		flags |= partLastPrimaryFirst
	}
	if len(p.Awaited) > 0 {
		flags |= partAwaited
	}
	e.byte(flags)
	e.uint(uint64(p.Epoch))
	e.list(p.Replicas)
	if flags&partJoining != 0 {
		e.list(p.Joining)
	}
	if flags&partLastKnownSame == 0 {
		e.list(p.LastKnown)
	}
	if flags&partAssignedSame == 0 {
		e.list(p.Assigned)
	}
	if flags&partLastPrimaryFirst == 0 {
		e.id(p.LastPrimary)
	}
	e.uint(p.LastPrimaryIncarnation)
	if flags&partAwaited != 0 {
		e.list(p.Awaited)
	}
}

func equalLists(a, b []ServerID) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// encode appends version, table and what body writes. The table goes first and
// is known last, so the body is written apart.
func encode(dst []byte, body func(*encoder)) []byte {
	e := encoder{index: make(map[ServerID]uint64)}
	body(&e)
	dst = append(dst, codecVersion)
	dst = binary.AppendUvarint(dst, uint64(len(e.ids)))
	for _, id := range e.ids {
		dst = binary.BigEndian.AppendUint64(dst, uint64(id))
	}
	return append(dst, e.b...)
}

// decoder takes from b. After the first error everything it returns is zero.
type decoder struct {
	b   []byte
	ids []ServerID
	err error
	// room is where the next lists are cut from, so that a map's thousands of
	// short lists are few allocations: chunk IDs at a time.
	room  []ServerID
	chunk int
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrEncoding, what)
	}
	d.b = nil
}

func (d *decoder) uint(max uint64) uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || v > max {
		d.fail("a number is cut short or too large")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail("a number is cut short")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) fixed() uint64 {
	if len(d.b) < 8 {
		d.fail("an ID is cut short")
		return 0
	}
	v := binary.BigEndian.Uint64(d.b)
	d.b = d.b[8:]
	return v
}

func (d *decoder) byte(max byte) byte {
	if len(d.b) == 0 || d.b[0] > max {
		d.fail("a byte is missing or unknown")
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

// count is the number of things that follow, each of at least size bytes.
func (d *decoder) count(size int) int {
	n := d.uint(^uint64(0))
	if n > uint64(len(d.b)/size) {
		d.fail("a count exceeds the bytes that are left")
		return 0
	}
	return int(n)
}

func (d *decoder) string() string {
	n := d.count(1)
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *decoder) id() ServerID {
	i := d.uint(^uint64(0))
	if i >= uint64(len(d.ids)) {
		d.fail("a server is not in the table")
		return 0
	}
	return d.ids[i]
}

func (d *decoder) list() []ServerID {
	n := d.count(1)
	if n == 0 {
		return nil
	}
	if len(d.room) < n {
		// No more IDs than there are bytes left can follow.
		d.room = make([]ServerID, max(n, min(len(d.b), d.chunk)))
	}
	l := d.room[:n:n]
	d.room = d.room[n:]
	for i := range l {
		l[i] = d.id()
	}
	return l
}

const serverSize = 1 + 1 + 1 + 1 + 8 + 1 + 1

func (d *decoder) server() Server {
	return Server{
		ID:          d.id(),
		Addr:        d.string(),
		StreamAddr:  d.string(),
		Incarnation: d.uint(^uint64(0)),
		RunID:       d.fixed(),
		Zone:        d.string(),
		State:       State(d.byte(byte(Fault))),
	}
}

func (d *decoder) servers() []Server {
	n := d.count(serverSize)
	if n == 0 {
		return nil
	}
	l := make([]Server, n)
	for i := range l {
		l[i] = d.server()
	}
	return l
}

const partitionSize = 1 + 1 + 1 + 1

func (d *decoder) partition() Partition {
	flags := d.byte(partFlags)
	p := Partition{
		Epoch:    uint32(d.uint(1<<32 - 1)),
		Replicas: d.list(),
		Active:   flags&partActive != 0,
	}
	if flags&partJoining != 0 {
		p.Joining = d.list()
	}
	p.LastKnown = d.listUnless(flags&partLastKnownSame != 0, p.Replicas)
	p.Assigned = d.listUnless(flags&partAssignedSame != 0, p.Replicas)
	if flags&partLastPrimaryFirst != 0 {
		p.LastPrimary = p.Primary()
	} else {
		p.LastPrimary = d.id()
	}
	p.LastPrimaryIncarnation = d.uint(^uint64(0))
	if flags&partAwaited != 0 {
		p.Awaited = d.list()
	}
	return p
}

func (d *decoder) listUnless(same bool, other []ServerID) []ServerID {
	if same {
		return other
	}
	return d.list()
}

// start reads version and table.
func (d *decoder) start() {
	if len(d.b) == 0 || d.b[0] != codecVersion {
		d.fail("empty, or of an unknown version")
		return
	}
	d.b = d.b[1:]
	n := d.count(8)
	d.ids = make([]ServerID, n)
	for i := range d.ids {
		d.ids[i] = ServerID(d.fixed())
	}
}

// end is the error, if any, of a value that was to take all bytes.
func (d *decoder) end() error {
	if d.err == nil && len(d.b) > 0 {
		d.fail("bytes left over")
	}
	return d.err
}
