// Package store keeps one server's pairs on disk: an embedded
// LSM (pebble) behind the few operations that replication needs.
//
// There are four types to know. Store is an open store directory. Batch is a
// set of changes that Commit makes durable and visible at once. Snapshot is a
// frozen view, for copying, digests and checksums. Cache keeps hot items in
// front of it all.
//
// On disk a store is a directory:
//
//	identity.json  who it is: store ID, cluster, incarnation, how the last run ended
//	map            the newest cluster map its server saw
//	LOCK           held by the one process that uses it
//	data/          pebble
//	backup.json    only in a checkpoint or a merged store, which has no identity
//
// What durable means: an acknowledged Commit survives kill -9 of the process
// always, and power loss with Options.Fsync. identity.json and map are synced
// really in either case.
//
// What happens when the disk fails is told in guard.go.
package store
