// Package clustermap is the cluster map ("hash space" to users): which servers
// there are and which of them hold each partition (docs/protocol.md, The map).
//
// Everything here is a value: no I/O, no locks, no clock, no randomness. A Map
// that has been handed out is never changed; Apply makes a new one.
package clustermap

import "fmt"

// ServerID names one store. It is made at random when the store is created and
// lives in it, so a server keeps its ID across addresses and restarts. Zero is
// no server.
type ServerID uint64

// String is the ID as logs and tools show it: 16 hexadecimal digits.
func (id ServerID) String() string { return fmt.Sprintf("%016x", uint64(id)) }

// ClusterID names one cluster; zero means that none has been created.
type ClusterID uint64

// String is the ID as logs and tools show it: 16 hexadecimal digits.
func (id ClusterID) String() string { return fmt.Sprintf("%016x", uint64(id)) }

// State of an attached server.
type State uint8

const (
	// Active servers take part.
	Active State = iota
	// Fault is sticky: a server away too long takes no part until it is attached again.
	Fault
)

// String is the word that `kumoctl status` shows.
func (s State) String() string {
	if s == Fault {
		return "fault"
	}
	return "active"
}

// Server is one attached server.
type Server struct {
	ID ServerID
	// Addr and StreamAddr are numeric "ip:port".
	Addr       string
	StreamAddr string
	// Incarnation is the highest run that registered. Every role that the map
	// gives this server belongs to this incarnation (R3): the step that raises
	// it takes the old one's roles away.
	Incarnation uint64
	// RunID is the random number of that run: the same incarnation with another
	// run ID is a copied or rolled-back disk (R10).
	RunID uint64
	Zone  string
	State State
}

const (
	// DefaultPartitions is the number of partitions of a new cluster.
	DefaultPartitions = 4096
	// MaxPartitions is the largest number of partitions: the store's key has two
	// bytes for it, of which the values from 0x8000 on are the store's own.
	MaxPartitions = 1 << 15
	// DefaultReplication is the number of copies of each pair.
	DefaultReplication = 3
	// MaxReplication bounds the number of copies: lists of replicas are walked
	// everywhere and are meant to be short.
	MaxReplication = 16
	// MaxEpoch bounds a partition's epoch (exclusive): versions are
	// epoch<<40 | seq and must be positive as int64.
	MaxEpoch = 1 << 23
	// SeqBits is the width of a version's sequence number.
	SeqBits = 40
)

// Partition is the configuration of one partition (R3-R6).
//
// Invariants: Active => LastKnown equals Replicas as a set; not Active =>
// Replicas is a subset of LastKnown; no server is in both Replicas and
// Joining; every server named in Replicas and Joining is in Map.Servers;
// Awaited => no Replicas and no Joining.
type Partition struct {
	// Epoch grows with any change of Replicas or Joining (R3).
	Epoch uint32
	// Replicas hold all that was acknowledged; the first is the primary.
	Replicas []ServerID
	// Joining are being filled and become replicas when they are counted (R6).
	Joining []ServerID
	// Active: the primary's activation of this configuration was recorded, or
	// the step that made it kept an activation (R4).
	Active bool
	// LastKnown is the last configuration recorded active: who may resume the
	// partition when every replica is gone (R9).
	LastKnown []ServerID
	// LastPrimary and LastPrimaryIncarnation are the primary of LastKnown: whose
	// leases a new primary waits out (R5).
	LastPrimary            ServerID
	LastPrimaryIncarnation uint64
	// Assigned is where planning wants the copies (first the primary). The
	// manager moves Replicas towards it as long as the servers named are active.
	Assigned []ServerID
	// Awaited, in a map that was rebuilt from the servers' (§5), are members of
	// the newest known configuration that have not yet told what they know of
	// it. While there are any, nobody has a role and nobody may resume (R9).
	Awaited []ServerID
}

// Primary is the first replica, or 0 when the partition has none.
func (p *Partition) Primary() ServerID {
	if len(p.Replicas) == 0 {
		return 0
	}
	return p.Replicas[0]
}

// Map is one version of the cluster map. Immutable once shared.
type Map struct {
	ClusterID ClusterID
	// Version grows by one with every change ("clock" in kumoctl status).
	Version uint64
	// Updated is the time of the last change, in Unix milliseconds. No rule
	// depends on it.
	Updated     int64
	Replication int
	AutoReplace bool
	// Copying is what the administrator wants of it.
	Copying Copying
	// Servers is sorted by ID.
	Servers    []Server
	Partitions []Partition
	// Banned are stores given up by --accept-loss: they may not register again (R9).
	Banned []ServerID
	// Recovered is the version with which this map was last rebuilt from those
	// of the servers, 0 if it never was. Older versions are of a history that
	// the managers have lost.
	Recovered uint64
}

// Copying is how copies between servers are made; the zero value is as each server's
// flags say.
type Copying struct {
	// Paused: none is begun.
	Paused bool
	// Rate bounds what each server sends, in bytes a second, in place of its
	// --replace-rate; 0: that.
	Rate int64
	// AtOnce is how many copies each server sends at a time; 0: as many as it likes.
	AtOnce int
}

// Delta is one step from a Map to the next: what the managers' log holds and
// what is pushed to servers and gateways.
type Delta struct {
	// Base is the version it applies to; the result has Version Base+1, or
	// that of Recover.
	Base    uint64
	Updated int64
	// Create, set only in a cluster's first delta (Base 0), names the cluster.
	Create *Creation
	// SetServers replaces or adds; RemoveServers removes.
	SetServers    []Server
	RemoveServers []ServerID
	Partitions    []PartitionChange
	AutoReplace   *bool
	Copying       *Copying
	Ban           []ServerID
	// Recover, set only in a delta with nothing else for managers without a
	// cluster (Base 0), is the whole map that was rebuilt.
	Recover *Map
}

// Creation fixes what never changes in a cluster's life.
type Creation struct {
	ClusterID   ClusterID
	Partitions  int
	Replication int
}

// PartitionChange replaces one partition's configuration. It is taken only
// if the partition's epoch is still OldEpoch (R3's compare-and-set).
type PartitionChange struct {
	Index    uint16
	OldEpoch uint32
	New      Partition
}
