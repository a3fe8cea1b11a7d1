package replica

import (
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/planted"
	"github.com/kumofs/kumofs/internal/wire"
)

// tailEntries is how many committed operations a replica remembers (version and
// key), so that one that was away briefly gets only the keys it missed (R7).
const tailEntries = 128

// entry is one operation of the stream.
type entry struct {
	version uint64
	prev    uint64
	key     string
	effect  wire.Effect
	status  item.Status
	session uint64 // whose result this is, or that it opens or ends (R8)
	number  uint32
	lowest  uint32
	answer  uint64 // what the session keeps of the result (answerOf)
	// item and flush are the operation's content: kept at the primary until all have it.
	item  *item.Item
	flush wire.Flush
}

// oplog is the ring of R4 with a tail of committed operations before it.
//
// Invariant: entries are in order and without a gap; those of a version up to
// committed are the tail, the rest is the ring.
type oplog struct {
	entries   []entry
	base      uint64 // version of the operation before entries[0]
	baseKnown bool
	committed uint64
	open      int // index of the first uncommitted entry
	bare      int // entries before this index have no content any more
	bytes     int // of content held
	unsure    int // what the entries not yet committed cost in memory, about, in bytes
}

func seqOf(version uint64) uint64 { return version & (1<<clustermap.SeqBits - 1) }

func epochOf(version uint64) uint32 { return uint32(version >> clustermap.SeqBits) }

func versionOf(epoch uint32, seq uint64) uint64 { return uint64(epoch)<<clustermap.SeqBits | seq }

// reset makes the log hold just the ring given: what is known after Reconcile
// and JoinStart, and at start (an empty ring after version base).
func (l *oplog) reset(base uint64, baseKnown bool, committed uint64, ring []wire.RingEntry) {
	*l = oplog{base: base, baseKnown: baseKnown, committed: committed}
	for _, e := range ring {
		l.push(entry{version: e.Version, key: e.Key, effect: e.Effect, session: e.Session})
	}
	l.commit(committed, 0)
}

func (l *oplog) push(e entry) {
	l.entries = append(l.entries, e)
	l.bytes += e.size()
	l.unsure += e.size() + heldOverhead
}

func (e *entry) size() int {
	if e.item == nil {
		return 0
	}
	return len(e.item.Value) + len(e.key) + 64
}

// commit notes that everything up to version is committed and lets go of what
// no one will ask for again: content up to the sequence number keep, entries
// beyond the tail.
func (l *oplog) commit(version, keep uint64) {
	if seqOf(version) > seqOf(l.committed) {
		l.committed = version
	}
	for l.open < len(l.entries) && seqOf(l.entries[l.open].version) <= seqOf(l.committed) {
		l.unsure -= l.entries[l.open].size() + heldOverhead
		l.open++
	}
	for l.bare < l.open && seqOf(l.entries[l.bare].version) <= keep {
		e := &l.entries[l.bare]
		l.bytes -= e.size()
		e.item = nil
		l.bare++
	}
	// Entries fall off in blocks, so that moving the rest down costs little.
	if drop := l.bare - tailEntries; drop >= tailEntries {
		l.base, l.baseKnown = l.entries[drop-1].version, true
		rest := copy(l.entries, l.entries[drop:])
		clear(l.entries[rest:])
		l.entries = l.entries[:rest]
		l.open -= drop
		l.bare -= drop
	}
}

// ring is the operations not yet known committed, for a message (R4).
func (l *oplog) ring() []wire.RingEntry {
	open := l.entries[l.open:]
	if len(open) == 0 {
		return nil
	}
	ring := make([]wire.RingEntry, len(open))
	for i := range open {
		e := &open[i]
		ring[i] = wire.RingEntry{Version: e.version, Session: e.session, Effect: e.effect, Key: e.key}
	}
	return ring
}

// covers tells whether version is in this log, and the keys of all operations
// after it (R7's tail).
func (l *oplog) covers(version uint64) (keys []string, ok bool) {
	from := -1
	if l.baseKnown && version == l.base {
		from = 0
	} else {
		for i := range l.entries {
			if e := l.entries[i].version; e == version || seqOf(e) == seqOf(version) && planted.Is(planted.TailByNumber) {
				from = i + 1
				break
			}
		}
	}
	if from < 0 {
		return nil, false
	}
	seen := make(map[string]struct{})
	for i := from; i < len(l.entries); i++ {
		e := &l.entries[i]
		if e.effect != wire.EffectPut && e.effect != wire.EffectRemove {
			continue
		}
		if _, dup := seen[e.key]; !dup {
			seen[e.key] = struct{}{}
			keys = append(keys, e.key)
		}
	}
	return keys, true
}

// after is the index of the first entry of a sequence number above seq.
func (l *oplog) after(seq uint64) int {
	i := len(l.entries)
	for i > 0 && seqOf(l.entries[i-1].version) > seq {
		i--
	}
	return i
}
