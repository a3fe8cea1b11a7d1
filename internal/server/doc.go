// Package server is kumo-server: the replicas of one store on one event loop.
//
// The loop's goroutine owns everything in node; other goroutines only do what
// may block and post back what came of it:
//
//	commit.go   commits batches (one at a time, so partitions' writes stay in order)
//	read.go     reads that miss the cache
//	copy_*.go   bulk copies of joins, over the stream port
//	control     the link to the managers
//	http.go     tools
//	witness.go  a vote among the managers, where they are an even number
//
// What the protocol core (package replica) wants done is carried out in one
// place, turn.go, once at the end of each turn of the loop: one batch for the
// store, one flush per connection.
package server
