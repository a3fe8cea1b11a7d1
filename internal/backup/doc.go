// Package backup is the form of a backup of a whole cluster (kumoctl backup --to): a
// directory with a manifest and files of pairs. It writes one, reads one, alone or as
// the last of a chain of incremental ones, and verifies that every bit of it is as it
// was written. How pairs come over the network, from a server's snapshot (Export), has the same form.
//
//	manifest.json   what the backup is of, and where each partition is (Manifest)
//	pairs-0001.kfb  a header, then sections, one a partition
//
// A section is blocks: one that begins it, blocks of entries in the order of keys, one
// that ends it with sums. Every block has a checksum, every section one in the manifest,
// the manifest one of itself; headers, sections and nothing else make up a file.
//
// A pair is stored as applications see it: key, value, flags, expiry time, and the
// version and unique that it had. So how a store keeps it, large values in chunks above
// all, may change without a change of the form.
package backup
