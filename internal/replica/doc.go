// Package replica is the replication protocol of one partition: docs/protocol.md,
// rules R1-R8 and R10-R11, as a value. A Replica takes messages, requests,
// completions and ticks and appends what is to be done to an Effects. It does
// no I/O, reads no clock and starts no goroutine, so the same code runs in
// kumo-server and in the simulator.
//
// Where a rule is kept:
//
//	R1 order          primary.go order, backup.go append
//	R2 commit         primary.go tryCommit, Drain
//	R3 epochs         replica.go Adopt
//	R4 activation     activate.go
//	R5 leases         lease.go, primary.go leased, activate.go mustWait
//	R6 joining        join.go
//	R7 return         join.go joinMode, Chunk; log.go covers
//	R8 exactly once   sessions.go, once.go
//	R9 accusation     watch.go
//	R10 epoch checks  execute.go Request, every message handler
//	R11 expiry, flush execute.go apply, flush.go
//
// The law of order: nothing in an Effects depends on the writes of the same
// Effects being durable. What does (an acknowledgement, a commit) is produced
// later by Persisted, when the daemon says that the writes are in the store. So
// a daemon may send and reply at once and persist at its own pace, as long as
// writes of one partition are persisted in the order in which they came.
package replica
