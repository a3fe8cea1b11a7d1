// Package hotkeys finds the keys that are asked for most, of some of the requests:
// one in Every on average. It is pure: no clock, no lock, no goroutine, and nothing is
// allocated but by Reads and Writes.
package hotkeys

import (
	"bytes"
	"cmp"
	"math"
)

const (
	// Every is of how many requests one is looked at, on average.
	Every = 64
	// Window is how long, in seconds, a request counts: after it, for 1/e of what it was.
	Window = 60
	// Most is how many keys Reads and Writes give at most.
	Most = counters
	// least is how many samples make a key one that is seen more than by chance.
	least = 3
)

// Key is one that is asked for often.
type Key struct {
	Partition uint16
	Key       []byte
	// PerSecond is how often it is asked for, at least, as far as samples tell: about the
	// mean of the last minute.
	PerSecond float64
	// Share is that of all requests of its kind, 0 to 1.
	Share float64
}

// compare orders the most asked for first.
func compare(a, b Key) int {
	return cmp.Or(cmp.Compare(b.PerSecond, a.PerSecond), cmp.Compare(a.Partition, b.Partition), bytes.Compare(a.Key, b.Key))
}

// Finder finds them. It belongs to one goroutine. The zero value has seen nothing; it has about
// 150 KB, and takes no more.
type Finder struct {
	left   int32 // requests until the next sample
	random uint64
	lived  float64 // seconds
	reads  sketch
	writes sketch
}

// Sample counts a request and tells whether it is one to be looked at, by Read or Write.
// (It is apart from them so that it is inlined.)
func (f *Finder) Sample() bool {
	f.left--
	return f.left < 0
}

// rest draws how many requests are passed over. It is no fixed number: a client that
// asks for a number of keys in turn would have one of them looked at always.
func (f *Finder) rest() {
	if f.random == 0 {
		f.random = 0x9e3779b97f4a7c15
	}
	f.random ^= f.random << 13
	f.random ^= f.random >> 7
	f.random ^= f.random << 17
	f.left = int32(f.random >> 33 % (2*Every - 1)) // Every-1 on average
}

// Read takes the key of a read that is a sample. It does not keep key.
func (f *Finder) Read(part uint16, key []byte) {
	f.rest()
	f.reads.add(part, key)
}

// Write does so for a write.
func (f *Finder) Write(part uint16, key []byte) {
	f.rest()
	f.writes.add(part, key)
}

// Pass is for a sample that is neither.
func (f *Finder) Pass() { f.rest() }

// Age tells that so many seconds have passed; it is called every second or so.
func (f *Finder) Age(seconds float64) {
	if seconds <= 0 {
		return
	}
	f.lived += seconds
	by := math.Exp(-seconds / Window)
	f.reads.shrink(by)
	f.writes.shrink(by)
}

// Reads gives the keys that are read most, n at most, the hottest first.
func (f *Finder) Reads(n int) []Key { return f.reads.top(n, least, f.scale()) }

// Writes gives the keys that are written most.
func (f *Finder) Writes(n int) []Key { return f.writes.top(n, least, f.scale()) }

// scale is what a weight of 1 is in requests a second. What was seen in a short life is not spread
// over the whole of Window.
func (f *Finder) scale() float64 {
	return Every / (Window * (1 - math.Exp(-max(f.lived, 1)/Window)))
}
