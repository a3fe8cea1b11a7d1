// Package item is what a key holds and what a command does to it: the item, its
// record in the store, and the semantics of every memcached command in one
// function, Execute. Pure: no I/O, no clock.
package item

// Item is the value of one key. Value belongs to whoever made the Item;
// functions that keep it say so.
type Item struct {
	// Version is epoch<<40 | seq, given by the partition's primary (docs/protocol.md, Versions).
	Version uint64
	// Unique is the CAS unique where it is not the version (a touch keeps the
	// unique, meta E sets it); 0 means that Version is the unique.
	Unique uint64
	// Flags are the client's, opaque.
	Flags uint32
	// Exptime is the absolute expiry time in Unix seconds; 0 is never. It was
	// fixed by the primary at the write (R11).
	Exptime int64
	// Stale: a client has marked the value as outdated (meta I). TokenSent: some
	// client was told to make a new one (meta W) and nobody has yet.
	Stale, TokenSent bool
	// Large: Value is the manifest of the value (large.go).
	Large bool
	Value []byte

	// Fetched and Accessed are the primary's own notes (meta h and l): whether a
	// client has seen the item, and when one last did or stored it, in Unix
	// seconds; 0 is not known. They are neither stored nor sent to replicas.
	Fetched  bool
	Accessed uint32
}

// CAS is the item's memcached CAS unique. Never 0 for an item that was stored.
func (it *Item) CAS() uint64 {
	if it.Unique != 0 {
		return it.Unique
	}
	return it.Version
}

// Expired tells whether the item has expired at now (Unix seconds). Only a
// primary may ask (R11).
func (it *Item) Expired(now int64) bool { return it.Exptime != 0 && it.Exptime <= now }

// Bump notes that a client has seen the item at now, in Unix seconds.
func (it *Item) Bump(now int64) { it.Fetched, it.Accessed = true, uint32(now) }

// Op is a command on one key.
type Op uint8

// The commands. Their numbers go over the wire between gateway and server:
// add at the end, never renumber.
const (
	OpGet Op = iota + 1
	OpSet
	OpAdd
	OpReplace
	OpAppend
	OpPrepend
	OpCAS
	OpIncr
	OpDecr
	OpTouch
	OpGetAndTouch
	OpDelete
	OpFlush       // flush the partition; Key is empty, Exptime is the delay
	OpOpenSession // R8: opens a session in the partition; Key is empty
	OpMetaGet     // a retrieval that may write, by its Options; OpGet with them is answered MustWrite then
	opEnd
)

// OpCollect is what a server asks itself: to remove the marker and the Initial
// chunks from number Delta on of the upload whose ID is Value, unless Key's item
// lists it, or is about to. Then it answers NotStored. It does not go over the wire.
const OpCollect Op = 255

// Valid tells whether op is one of the commands above.
func (op Op) Valid() bool { return op >= OpGet && op < opEnd }

// Retrieves tells whether op answers with a value.
func (op Op) Retrieves() bool { return op == OpGet || op == OpGetAndTouch || op == OpMetaGet }

// Option is what a command is asked for beyond its usual meaning: by the flags of
// meta commands, and by the unique in the header of the binary protocol.
type Option uint16

// The options. Their bits go over the wire: add at the end.
const (
	// Compare: append, prepend, incr, decr and delete only if the item's unique is CAS.
	Compare Option = 1 << iota
	// Explicit: what is stored has the unique Unique, if that is not 0 (meta E).
	Explicit
	// Touch: OpMetaGet, OpIncr, OpDecr and an invalidating OpDelete set Exptime.
	Touch
	// Vivify: a miss of a retrieval, append, prepend, incr or decr makes an item
	// with the exptime VivifyExptime (meta N).
	Vivify
	// Recache: a retrieval of an item that expires before RecacheExptime wins the
	// token to make it anew (meta R).
	Recache
	// Invalidate: OpDelete marks the item as stale instead; OpCAS with a unique
	// that is lower than the item's stores the value, stale (meta I).
	Invalidate
	// RemoveValue: OpDelete leaves an item without value (meta x).
	RemoveValue
	// NoBump: a retrieval does not count as an access (meta u).
	NoBump
	// NoValue: a retrieval answers without the value.
	NoValue
	// TTLBefore: the exptime of the answer is the one before Touch.
	TTLBefore
	// TTLBeforeMade: the answer tells of an item that Vivify made no exptime.
	TTLBeforeMade
	// ShowAccess: a retrieval tells of the accesses before it (meta h and l), so it
	// may not go beside others of its client.
	ShowAccess
	// RecacheNew: Recache looks at the exptime that Touch sets, not at the one before.
	RecacheNew
	// Win: a retrieval of a stale item wins the token, as every meta get does.
	Win
	// Large: Value is the manifest of the value, the chunks of which are stored (large.go).
	Large
)

// Request is one command on one key. Key and Value are only borrowed: whoever
// keeps them longer than the call copies them.
type Request struct {
	Op      Op
	Options Option
	Key     []byte
	Value   []byte
	Flags   uint32
	// Exptime as the client sent it: 0 never, negative already expired, up to
	// 30 days relative seconds, above that absolute Unix seconds.
	Exptime int64
	// CAS is the expected unique of OpCAS, and of others with Compare.
	CAS uint64
	// Unique is that of what is stored, with Explicit.
	Unique uint64
	// Delta is the operand of OpIncr and OpDecr, Initial the number that they store with Vivify.
	Delta, Initial uint64
	// VivifyExptime and RecacheExptime are as Exptime.
	VivifyExptime, RecacheExptime int64
	// MaxItemSize bounds the value that append and prepend may make, in bytes; 0 is no bound.
	MaxItemSize uint32
}

// Has tells whether an option is asked for.
func (r *Request) Has(o Option) bool { return r.Options&o != 0 }

// Status of a command. The numbers go over the wire: add at the end.
type Status uint8

// The statuses. Failed and FateUnknown say nothing about whether it was done.
const (
	OK          Status = iota + 1 // hit, STORED, DELETED, TOUCHED, a new number
	NotFound                      // miss, NOT_FOUND
	NotStored                     // add, replace, append, prepend whose condition failed
	Exists                        // cas on another unique
	NonNumeric                    // incr or decr on a value that is not a number
	TooLarge                      // append or prepend would exceed MaxItemSize
	Failed                        // the server could not do it (disk, shutdown); Message says why
	FateUnknown                   // it may or may not have been done, or may yet be
	// MustWrite: this OpGet has to be sent again as OpMetaGet, because what it asks
	// for is a write. For the router alone; nothing was done.
	MustWrite
)

// Result of a command.
type Result struct {
	Status Status
	// Item is what a retrieval found, or what a write left there (its version
	// is the new CAS unique). Value is set only for retrievals without NoValue;
	// of a large item it is the manifest.
	// With TTLBefore, Exptime is the one from before the command.
	Item Item
	// Size is the length of the item's value in bytes; 0 for OpTouch, OpIncr, OpDecr and OpDelete.
	Size uint32
	// Won: the client has won the token to make the item anew (meta W). Of OpIncr and
	// OpDecr: it has made the item.
	Won bool
	// Now is the primary's clock in Unix seconds, to which Item.Exptime and
	// Item.Accessed are to be compared; set for retrievals and what Vivify and Touch
	// ask for.
	Now int64
	// Number is the new value of OpIncr and OpDecr.
	Number uint64
	// Message explains Failed to a person; empty otherwise.
	Message string
}

// Unsure tells whether it is not known from s alone what was done.
func (s Status) Unsure() bool { return s == Failed || s == FateUnknown }

// Effect is what a command does to its key.
type Effect uint8

const (
	// None: nothing is written.
	None Effect = iota
	// Put: the key gets a new item.
	Put
	// Remove: the key is deleted.
	Remove
)

// Outcome of Execute: the answer, and what must be written for it to be true.
type Outcome struct {
	Result Result
	Effect Effect
	// New is the item to store when Effect is Put. Its Value may share memory
	// with the request's Value or with the current item's.
	New Item
	// Chunks are to be stored before New: the first under the version that Execute
	// was given, each of the others under the next one. New has the one after them.
	Chunks []Chunk
}
