package replica

import (
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/wire"
)

// Token names a request to whoever gave it; the reply carries it back. Owner is
// a pointer, so that a Token costs no allocation.
type Token struct {
	Owner any
	ID    uint32
	Tag   uint32 // means nothing here
}

// Write is one change to the store. Exactly one of the three is meant: Flush
// when IsFlush, Item put when Item is not nil, else the key's removal.
type Write struct {
	Partition uint16
	Key       string
	Item      *item.Item
	IsFlush   bool
	Flush     wire.Flush
}

// Send is one message to another server.
type Send struct {
	To  clustermap.ServerID
	Msg wire.Message
}

// Reply answers one request: its wire.Reply has the request's ID. Nak is not nil when
// it was refused before it was ordered. Who has given the answer may hand the Reply
// back with Node.Free.
type Reply struct {
	Token Token
	wire.Reply
	Nak *wire.Nak

	// While it is held back until what it depends on is committed (R2):
	next    *Reply
	depends uint64 // version; 0: nothing
	// local: it was made without a write, so a lease must be held after the
	// value was read (R5).
	local bool
}

// maxFree is how many Replies are kept for later.
const maxFree = 4096

func (n *Node) newReply(t Token) *Reply {
	w := n.free
	if w == nil {
		w = &Reply{}
	} else {
		n.free, w.next = w.next, nil
		n.freed--
	}
	w.Token, w.ID = t, t.ID
	return w
}

// Free takes back a Reply that was given, and nobody has any more.
func (n *Node) Free(w *Reply) {
	if n.freed < maxFree {
		*w = Reply{next: n.free}
		n.free = w
		n.freed++
	}
}

// Read asks for the present items of keys. The daemon answers with ReadDone.
// Everything persisted before the Read was asked for must be visible to it.
type Read struct {
	Replica *Replica
	Epoch   uint32
	// Peer is 0 for a request's key, else the member that a Reconcile is for.
	Peer clustermap.ServerID
	Keys []string

	sessions []uint64 // that the Reconcile carries
	gen      uint32   // of whose time as primary this is
}

// Copy asks for the snapshot of a join to be sent to a joiner (R6, R7). The
// store's snapshot must be taken after it was asked for. The daemon answers with CopyDone.
type Copy struct {
	Replica *Replica
	To      clustermap.ServerID
	JoinID  uint64
	Mode    wire.JoinMode
	Keys    []string // JoinTail
}

// Accusation names members that do not answer in one partition.
type Accusation struct {
	PE      control.PartitionEpoch
	Members []clustermap.ServerID
}

// Effects collects what is to be done. The daemon empties it; slices are reused.
type Effects struct {
	Writes  []Write
	Sends   []Send
	Replies []*Reply
	Reads   []Read
	Copies  []Copy
	// Dirty are replicas with writes (or a changed position) since they were
	// last taken off the list: their StorePosition goes into the same batch, and
	// their Ticket is what Persisted is told.
	Dirty []*Replica
	// Pending are replicas whose Drain is to be called at the end of the turn, with a fresh Node.Now.
	Pending []*Replica
	// JoinsWanted are joins that wait for BeginJoin (the daemon bounds how many run).
	JoinsWanted []JoinWanted
	// JoinsEnded are joins whose slot is free again: finished, failed or cancelled.
	JoinsEnded []JoinWanted
	// Urge are servers whose lease is needed and not held (Leases.Urge).
	Urge []clustermap.ServerID
	// For the manager (control.Report); each is repeated on ticks until the map shows it done.
	Activated []control.PartitionEpoch
	InSync    []control.InSync
	Accuse    []Accusation
}

// JoinWanted names one join of one partition.
type JoinWanted struct {
	Replica *Replica
	Peer    clustermap.ServerID
	JoinID  uint64
}

func (fx *Effects) send(to clustermap.ServerID, m wire.Message) {
	fx.Sends = append(fx.Sends, Send{to, m})
}
