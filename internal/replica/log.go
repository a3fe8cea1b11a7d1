package replica

import (
	"sort"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/planted"
	"github.com/kumofs/kumofs/internal/wire"
)

// tailEntries is how many committed operations a replica remembers (version and
// key), so that one that was away briefly gets only the keys it missed (R7). Twice as many
// of 100 bytes each may be there, in each of some thousand partitions.
const tailEntries = 32

// entry is one operation of the stream.
type entry struct {
	version uint64
	prev    uint64
	key     string
	effect  wire.Effect
	status  item.Status
	won     bool
	// ordered: this server put it into the stream, and has its content while it is not committed.
	ordered bool
	session uint64 // whose result this is, or that it opens or ends (R8)
	number  uint32
	lowest  uint32
	answer  uint64 // what the session keeps of the result (answerOf)
	// item and flush are the operation's content: kept at the primary until all have it.
	item  *item.Item
	flush wire.Flush
	// before is what all entries before this one have cost, also those that are gone.
	before int
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
	pushed    int // what all entries ever have cost
}

func seqOf(version uint64) uint64 { return version & (1<<clustermap.SeqBits - 1) }

func epochOf(version uint64) uint32 { return uint32(version >> clustermap.SeqBits) }

func versionOf(epoch uint32, seq uint64) uint64 { return uint64(epoch)<<clustermap.SeqBits | seq }

// reset makes the log hold just the ring given: what is known after Reconcile
// and JoinStart, and at start (an empty ring after version base).
func (l *oplog) reset(base uint64, baseKnown bool, committed uint64, ring []wire.RingEntry) {
	*l = oplog{base: base, baseKnown: baseKnown, committed: committed}
	for _, e := range ring {
		l.push(&entry{version: e.Version, key: e.Key, effect: e.Effect, session: e.Session})
	}
	l.commit(committed, 0)
}

func (l *oplog) push(e *entry) {
	e.before = l.pushed
	l.entries = append(l.entries, *e)
	l.pushed += e.cost()
}

// cost is what the entry with its content takes in memory, about, in bytes.
func (e *entry) cost() int {
	n := len(e.key) + heldOverhead
	if e.item != nil {
		n += len(e.item.Value)
	}
	return n
}

// before is what all entries before index i have cost.
func (l *oplog) before(i int) int {
	if i == len(l.entries) {
		return l.pushed
	}
	return l.entries[i].before
}

// unsure is the cost of the entries not yet committed.
func (l *oplog) unsure() int { return l.pushed - l.before(l.open) }

// lag is the cost of the committed entries of a sequence number above seq.
func (l *oplog) lag(seq uint64) int { return max(0, l.before(l.open)-l.before(l.after(seq))) }

// commit notes that everything up to version is committed and lets go of what
// no one will ask for again: content up to the sequence number keep, entries
// beyond the tail.
func (l *oplog) commit(version, keep uint64) {
	if seqOf(version) > seqOf(l.committed) {
		l.committed = version
	}
	for l.open < len(l.entries) && seqOf(l.entries[l.open].version) <= seqOf(l.committed) {
		l.open++
	}
	for l.bare < l.open && seqOf(l.entries[l.bare].version) <= keep {
		l.entries[l.bare].item = nil
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
	return sort.Search(len(l.entries), func(i int) bool { return seqOf(l.entries[i].version) > seq })
}
