// Package control is how managers, servers, gateways and tools talk when it is
// not about a key: the link (a framed stream that servers and gateways keep to
// a manager) and the HTTP/JSON interface of the tools.
package control

import "github.com/kumofs/kumofs/internal/clustermap"

// Magic opens every link connection, so that one listening port can tell it
// from HTTP and Raft by the first bytes.
const Magic = "KMCL\x01"

// Kind is the type of a frame on a link. A frame is a 4-byte big-endian length
// of what follows, one byte of Kind, the payload: JSON of the struct named
// below, or the clustermap encoding for KindMap and KindDelta.
type Kind uint8

// Frames. The numbers go over the wire.
const (
	KindHello     Kind = 1 + iota // to manager: Hello, first frame of a link
	KindWelcome                   // to member: Welcome, first answer
	KindRefuse                    // to member: Refuse, then the manager closes
	KindMap                       // to member: a whole map (clustermap.AppendMap)
	KindDelta                     // to member: one step (clustermap.AppendDelta)
	KindHeartbeat                 // both ways: Heartbeat
	KindReport                    // to manager: Report
	KindDead                      // to member: Dead
	KindCommand                   // to member: Command
	KindResult                    // to manager: Result
	KindReleased                  // to member: Released
)

// MaxFrame bounds a frame's payload in bytes; a longer one closes the link.
const MaxFrame = 64 << 20

// Role of the one that opened the link.
type Role string

// The roles.
const (
	RoleServer  Role = "server"
	RoleGateway Role = "gateway"
)

// Hello presents a server or a gateway to a manager.
type Hello struct {
	Role    Role
	Version string
	// MapVersion is that of the map held; the manager answers with the deltas
	// from there, or with a whole map.
	MapVersion uint64
	ClusterID  clustermap.ClusterID // 0: belongs to no cluster yet
	// KnownMap is a server's: the version of the newest map that it holds, also
	// of those of earlier runs.
	KnownMap uint64
	// HTTP is a gateway's port for monitoring, numeric ip:port (the ip may be unspecified:
	// then it is where the link comes from); "": it has none. Client: it is no daemon, but
	// an application with the Go client.
	HTTP   string `json:",omitempty"`
	Client bool   `json:",omitempty"`

	// The rest is a server's.
	ID          clustermap.ServerID
	Addr        string // numeric ip:port
	StreamAddr  string
	Zone        string
	Incarnation uint64
	RunID       uint64
	// HasData: the store holds pairs. A store with data and ClusterID 0 is a
	// restored backup.
	HasData bool
	// Uncertain: the store's tail may have been lost with the machine's power (R9).
	Uncertain bool
	// Positions are the store's, as EncodePositions writes them.
	Positions []byte
	// Leaving is what it wants to be rid of, as reports have it: a new leader knows it at once.
	Leaving Leaving `json:",omitempty"`
	// Witness is the ID of the witness that it runs for the managers; "": none.
	Witness string `json:",omitempty"`
}

// Welcome answers a Hello that was taken.
type Welcome struct {
	ClusterID clustermap.ClusterID
	// HeartbeatMillis is how often the member is to send Heartbeat.
	HeartbeatMillis int
	// Managers are all managers' addresses, this one included.
	Managers []string
}

// Refuse answers a Hello that was not taken, in words for a person. Fatal: it
// will never be taken (a store of another cluster, a copied disk), so that the
// server ends instead of asking again.
//
// Leader is the manager that is to be asked instead: only the one that leads
// takes members.
type Refuse struct {
	Reason string
	Fatal  bool
	Leader string `json:",omitempty"`
}

// Heartbeat says that the sender lives; before Welcome, that the Hello waits
// for a manager to lead.
type Heartbeat struct {
	MapVersion uint64
}

// PartitionEpoch names a configuration of a partition.
type PartitionEpoch struct {
	P uint16
	E uint32
}

// InSync reports that a joiner is counted (R6). It is taken only if epoch and
// incarnation are the map's.
type InSync struct {
	P           uint16
	E           uint32
	Joiner      clustermap.ServerID
	Incarnation uint64
	// Instead is a replica that the primary gives up for the joiner: planning wants the
	// partition elsewhere. The step that takes the one drops the other (R4: the primary asked for it,
	// so the partition is served on). 0: none.
	Instead clustermap.ServerID `json:",omitempty"`
}

// Accusation asks for the removal of members that do not answer (R3, R9).
// Accused names every member silent for two thirds of the limit, counted
// joiners too; Partitions are those of which the sender is primary and that
// have one of them.
type Accusation struct {
	Accused    []clustermap.ServerID
	Partitions []PartitionEpoch
}

// Report carries what a server's partitions have to say, collected over a turn.
// Everything in it may be repeated until the map shows it done.
type Report struct {
	Incarnation uint64
	Activated   []PartitionEpoch // R4: activation complete, to be recorded
	InSync      []InSync
	Accuse      []Accusation
	// StepDown: partitions that this server cannot serve (disk error, disk
	// full): an accusation of oneself (R9).
	StepDown []PartitionEpoch
	// Hangs: this server's disk does not answer; all its roles are for others who
	// can (R9). It is repeated while it lasts, twice a second or more often.
	Hangs bool
	// Leaving: what this server wants to be rid of. It is repeated while it lasts.
	Leaving Leaving `json:",omitempty"`
	// Damaged is how many places of its store are damaged and not mended.
	Damaged int `json:",omitempty"`
	// Disk is how full its disk is: DiskOK, DiskLow, DiskFull.
	Disk string `json:",omitempty"`
	// Copying progress for status: partitions still to be filled from here, and bytes sent so far.
	CopiesLeft int
	CopyBytes  uint64
}

// Leaving is how far a server wants to go; each level is more than the one before.
type Leaving int

const (
	// Stays: it takes part in everything.
	Stays Leaving = iota
	// Drains: others are to lead its partitions, wherever there is one that can. It
	// remains a replica.
	Drains
	// Stops: it is about to end. All its roles are for others, where at least one other
	// replica is there; so nobody waits for it afterwards.
	Stops
)

// String is the word for it in status; "" for Stays.
func (l Leaving) String() string {
	switch l {
	case Stays:
		return ""
	case Drains:
		return "drained"
	}
	return "stopping"
}

// Released tells a leaving server that nothing more will be taken over from it: it
// has no such roles any more, or nobody else can have them. It is repeated while that
// lasts.
type Released struct {
	Leaving Leaving // what it was asked for
}

// How full a server's disk is: DiskLow is a warning, DiskFull means that it takes no writes.
const (
	DiskOK   = ""
	DiskLow  = "low"
	DiskFull = "full"
)

// Dead tells a primary whom the manager holds dead; it accuses them at once (R3),
// in the epochs that it has at that moment. It is repeated while it lasts, and
// sent once more, empty, when it ends; nothing need be remembered of it.
type Dead struct {
	Servers []clustermap.ServerID
}

// Command asks a member to do something; it answers with a Result of the same ID.
type Command struct {
	ID   uint64
	Name string // "backup" with a suffix, CommandDrain, CommandWitness
	Arg  string
}

// CommandDrain asks a server to hand what it leads to others and to remain a backup,
// until it is started anew or, with the Arg DrainEnds, is asked to lead again.
const (
	CommandDrain = "drain"
	DrainEnds    = "end"
)

// CommandWitness asks a server to begin a witness for the managers, or to end it
// and forget its state. Arg is a WitnessOrder; the Result's Text is the witness's
// ID, "" after its end.
const CommandWitness = "witness"

// WitnessOrder is CommandWitness's Arg.
type WitnessOrder struct {
	Begin bool
	// Members are those of the managers' configuration: a witness that is none of
	// them is begun anew.
	Members []string
}

// Result answers a Command.
type Result struct {
	ID    uint64
	Error string // empty: done
	Text  string
}
