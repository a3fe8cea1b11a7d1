// Package wire is what goes over the data connections: between a gateway (or
// the client package) and a server, and between servers. Messages are plain
// structs; the codec turns them into frames and back. Pure: no net, no clock.
//
// A data connection opens with Magic. Then come frames: a 4-byte little-endian
// length of what follows, one byte of Kind, the body.
package wire

import (
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
)

// Magic opens every data connection.
const Magic = "KMDT\x02"

// RelayMagic opens a connection to a server that is to be joined to another
// server, whose ID follows in 8 bytes, little-endian. What comes after that is
// passed on as it is, and begins with Magic.
const RelayMagic = "KMRL\x01"

// MaxFrame bounds a frame's length field in bytes: the largest item (1 GiB) and room for its key and header.
const MaxFrame = 1<<30 + 1<<16

// Kind is the type of a frame.
type Kind uint8

// Kinds of frames. The numbers go over the wire: add at the end.
const (
	KindNone Kind = iota

	// Between a gateway and a server.
	KindRequest
	KindReply
	KindNak

	// Between servers; the dialing side is the one whose role as primary (or
	// lease holder) it is about, answers come back on the same connection.
	KindPeerHello    // who dials
	KindLease        // R5: either side, on the connection of the server with the lower ID
	KindAppend       // R1: primary to others
	KindAppendAck    // R1
	KindActivate     // R4: primary of a new epoch asks for the ring
	KindRing         // R4: the answer
	KindReconcile    // R4: the primary's present values, ring and position
	KindReconcileAck // R4: stored
	KindEpochQuery   // R5: a new primary asks the old one to acknowledge the new epoch
	KindEpochAck     // R5
	KindJoinHello    // R6: primary to joiner
	KindJoinState    // R7: joiner's position
	KindJoinStart    // R6: ring and session table; live operations follow
	KindJoinStarted  // the joiner has stored that its join is unfinished
	KindJoinEnd      // R6: the snapshot is all sent
	KindJoinDone     // R6: everything is stored
	KindAppendQuery  // R1: primary to others: is everything up to Version there?
	KindAppendGap    // R1: no, only what is up to Version

	// Between a client and a server.
	KindScan // a page of a partition's items (codec_scan.go)
	KindPage // the page; or KindReply or KindNak
	kindEnd
)

// Request is one command for one partition.
type Request struct {
	// ID is chosen by the sender and unique among those it has outstanding on the connection.
	ID        uint32
	Partition uint16
	// Epoch of the partition in the sender's map (R10).
	Epoch uint32
	// Retry: an earlier try of this request may have been ordered (R8).
	Retry bool
	// Session, Number, Lowest are R8's: the session's ID, this write's number in
	// it and the lowest number still outstanding. Session 0: none.
	Session uint64
	Number  uint32
	Lowest  uint32
	item.Request
}

// Reply answers a Request of the same ID.
type Reply struct {
	ID uint32
	item.Result
}

// NakReason says why a request was refused before it was ordered: it was not
// done and will not be.
type NakReason uint8

// Reasons. The numbers go over the wire.
const (
	NakWrongEpoch NakReason = 1 + iota // Partition carries the newer configuration, if the server has one
	NakNotReady                        // try again soon: behind the sender's map, or too many requests wait for activation
	NakUnknownSession
)

// Nak refuses a Request of the same ID.
type Nak struct {
	ID     uint32
	Index  uint16
	Reason NakReason
	// Partition is the refusing server's configuration of partition Index; Epoch 0: none known.
	Partition clustermap.Partition
}

// PeerHello is the first frame of a connection between servers.
type PeerHello struct {
	Cluster     clustermap.ClusterID
	From        clustermap.ServerID
	To          clustermap.ServerID // the dialer's idea of whom it reaches; another closes the connection
	Incarnation uint64
	// ToIncarnation is the receiver's in the dialer's map: a role ends with its
	// incarnation (R3), so another one closes the connection.
	ToIncarnation uint64
}

// Lease is the body of KindLease: a request, and the grant of the other side's last one (R5).
type Lease struct {
	// Sent is the sender's clock in nanoseconds: it asks for a lease from then on. 0: it
	// does not.
	Sent int64
	// Granted is the receiver's Sent that is granted with this; 0: none is.
	Granted int64
	// MapVersion is the sender's, which the grant carries.
	MapVersion uint64
	// Urgent wants an answer at once.
	Urgent bool
}

// Effect of an operation in the stream on its key.
type Effect uint8

// Effects. The numbers go over the wire.
const (
	EffectNone   Effect = iota // nothing, or its session's result alone (R8)
	EffectPut                  // the key has Item
	EffectRemove               // the key is gone
	EffectFlush                // the partition's flush record is Flush (R11)
	EffectOpen                 // opens the session whose ID is this operation's version (R8)
	EffectEnd                  // ends the session Session (R8)
)

// RingEntry is one operation not yet known committed (R4).
type RingEntry struct {
	Version uint64
	// Session that the operation touched, by its result, by opening or by ending it; 0: none.
	Session uint64
	Effect  Effect
	Key     string
}

// Value is the present state of a key: what a primary sends in Reconcile.
type Value struct {
	Key string
	// Item is nil for a key that does not exist.
	Item *item.Item
}

// MaxOutstanding is how far a session's numbers may be ahead of its lowest
// outstanding one (R8): it bounds what replicas keep.
const MaxOutstanding = 1024

// Session is the state of one session (R8): in Reconcile and JoinStart.
type Session struct {
	ID uint64
	// Gone: there is no such session.
	Gone    bool
	Lowest  uint32
	Results []SessionResult
}

// SessionResult is what a write of a session was answered: enough for the same
// answer to a retry, but for a value that was read (R8).
type SessionResult struct {
	// Version is the operation's.
	Version uint64
	// Answer is the new number of incr and decr, the new length of append and
	// prepend, of others the item's Unique.
	Answer  uint64
	Exptime int64
	Flags   uint32
	Number  uint32 // of the write in its session
	Status  item.Status
	Won     bool // the token (item.Result)
}

// Flush is a partition's flush record (R11): items of a version below Version
// are misses once At (Unix seconds, 0: at once) has come.
type Flush struct {
	Version uint64
	At      int64
}

// JoinMode is how a joiner is filled (R7).
type JoinMode uint8

// Modes of a join. The numbers go over the wire.
const (
	JoinEqual  JoinMode = iota // positions are equal: nothing to send
	JoinTail                   // the keys of the operations after the joiner's position
	JoinDigest                 // digests are compared; what differs is sent
	JoinWhole                  // the joiner has nothing: all is sent
)

// Message is what one replica of a partition says to another. Kind tells which
// fields mean something.
type Message struct {
	Kind      Kind
	Partition uint16
	Epoch     uint32
	// JoinID ties everything of one join together: 0 when it is not about a
	// joiner (Append*, Join*).
	JoinID uint64
	// Version: Append: the operation's. Acks: the last stored. AppendQuery: the last
	// sent. AppendGap: the last taken. Activate, EpochQuery,
	// Ring, Reconcile, JoinState, JoinStart: position. JoinEnd: what the snapshot may contain up to.
	Version uint64
	// Prev is the version of the operation before (Append).
	Prev uint64
	// Committed is the sender's knowledge of the last committed version.
	Committed uint64

	// Append.
	Effect  Effect
	Session uint64
	Number  uint32
	Lowest  uint32
	// Status, Won and Answer are what the session table keeps of the operation's
	// result besides its version and its item (R8).
	Status item.Status
	Won    bool
	Answer uint64
	Key    string
	Item   *item.Item

	Ring []RingEntry // Ring, Reconcile, JoinStart
	// Sessions: Reconcile: those touched by operations that differ; JoinStart: all.
	Sessions []Session
	Values   []Value  // Reconcile
	Flush    Flush    // Reconcile, JoinStart
	Mode     JoinMode // JoinStart
	// Unfinished: the joiner's store has no position (JoinState).
	Unfinished bool
	// Config is the configuration of Epoch: Activate, EpochQuery, JoinHello. It is
	// large, and operations have none.
	Config *clustermap.Partition
}
