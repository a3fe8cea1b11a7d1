// Package item is what a key holds and what a command does to it: the item, its
// record in the store, and the semantics of every memcached command in one
// function, Execute. Pure: no I/O, no clock.
package item

// Item is the value of one key. Value belongs to whoever made the Item;
// functions that keep it say so.
type Item struct {
	// Version is epoch<<40 | seq, given by the partition's primary (DESIGN.md §4).
	Version uint64
	// Unique is the CAS unique where it is not the version (a touch keeps the
	// unique, meta E sets it); 0 means that Version is the unique.
	Unique uint64
	// Flags are the client's, opaque.
	Flags uint32
	// Exptime is the absolute expiry time in Unix seconds; 0 is never. It was
	// fixed by the primary at the write (R11).
	Exptime int64
	Value   []byte
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
	opEnd
)

// Valid tells whether op is one of the commands above.
func (op Op) Valid() bool { return op >= OpGet && op < opEnd }

// Request is one command on one key. Key and Value are only borrowed: whoever
// keeps them longer than the call copies them.
type Request struct {
	Op    Op
	Key   []byte
	Value []byte
	Flags uint32
	// Exptime as the client sent it: 0 never, negative already expired, up to
	// 30 days relative seconds, above that absolute Unix seconds.
	Exptime int64
	// CAS is the expected unique of OpCAS.
	CAS uint64
	// Delta is the operand of OpIncr and OpDecr.
	Delta uint64
	// MaxItemSize bounds the value that append and prepend may make, in bytes; 0 is no bound.
	MaxItemSize uint32
}

// Status of a command. The numbers go over the wire: add at the end.
type Status uint8

// The statuses. From Failed on, nothing is said about whether it was done.
const (
	OK          Status = iota + 1 // hit, STORED, DELETED, TOUCHED, a new number
	NotFound                      // miss, NOT_FOUND
	NotStored                     // add, replace, append, prepend whose condition failed
	Exists                        // cas on another unique
	NonNumeric                    // incr or decr on a value that is not a number
	TooLarge                      // append or prepend would exceed MaxItemSize
	Failed                        // the server could not do it (disk, shutdown); Message says why
	FateUnknown                   // it may or may not have been done, or may yet be
)

// Result of a command.
type Result struct {
	Status Status
	// Item is what a retrieval found, or what a write left there (its version
	// is the new CAS unique). Value is set only for OpGet and OpGetAndTouch.
	Item Item
	// Number is the new value of OpIncr and OpDecr.
	Number uint64
	// Message explains Failed to a person; empty otherwise.
	Message string
}

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
}
