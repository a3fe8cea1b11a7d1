package control

import (
	"time"
)

// The tools' interface: HTTP with JSON bodies on the listening port of manager
// and server. Every answer that is not 2xx has an Error body.
const (
	PathStatus  = "/v1/status"  // manager, GET: Status
	PathCommand = "/v1/command" // manager, POST CommandRequest: CommandResponse
	PathMap     = "/v1/map"     // manager and server, GET: clustermap.AppendMap bytes
	PathStat    = "/v1/stat"    // server and gateway, GET ?key=K: StatResponse
	PathHotKeys = "/v1/hotkeys" // server, GET ?n=N: HotKeys
	PathVoter   = "/v1/voter"   // manager and server, GET: Voter
	PathJoin    = "/v1/join"    // manager, POST Join: Voter
	PathBackup  = "/v1/backup"  // server, POST ?partition=N&epoch=N, a backup.Request: blocks of package backup
	PathScrub   = "/v1/scrub"   // server, GET: ScrubStatus; POST: a round begins now, ScrubStatus
	PathMetrics = "/metrics"    // all three: Prometheus text
	PathHealth  = "/healthz"    // all three: Health, 200 when it does its work
	PathReady   = "/readyz"     // all three: Health, 200 when it would serve now
	// All three, for who may look into a process (inspect.Private).
	PathLogLevel = "/v1/log-level" // GET: LogLevelState; POST LogLevelState: the same
	PathProfiles = "/debug/pprof/" // net/http/pprof
)

// Error is the body of an answer that is not 2xx.
type Error struct {
	Error string `json:"error"`
}

// Status is what `kumoctl status` shows.
type Status struct {
	Cluster     string         `json:"cluster"`
	Clock       uint64         `json:"clock"`
	Timestamp   time.Time      `json:"timestamp"`
	Attached    []NodeStatus   `json:"attached"`
	NotAttached []NodeStatus   `json:"not_attached"`
	Managers    []ManagerState `json:"managers"`
	// Witnesses are servers that vote where the managers are an even number.
	Witnesses []WitnessState `json:"witnesses"`
	// Gateways are those connected to the manager that leads, and Go clients.
	Gateways    []GatewayStatus `json:"gateways"`
	AutoReplace bool            `json:"auto_replace"`
	Replication int             `json:"replication"`
	// Partitions by what they lack.
	Partitions  int `json:"partitions"`
	Unavailable int `json:"partitions_unavailable"`
	Short       int `json:"partitions_short"` // fewer copies than they should have
	Moving      int `json:"copies_to_make"`
	// Survives is how many servers may crash now, whichever they are, while every pair
	// stays readable and writable.
	Survives int `json:"crashes_survived"`
	// Progress is that of the copying under way; nil: there is none.
	Progress *Progress `json:"progress,omitempty"`
	// Copying is how the administrator has copies made, in words; "": as servers' flags say.
	Copying string `json:"copying,omitempty"`
	// Troubles are what does not end by itself.
	Troubles []Trouble `json:"troubles,omitempty"`
}

// Progress is how far copying has come, since it began or since this manager leads.
type Progress struct {
	PartitionsDone int    `json:"partitions_done"` // copies of partitions
	PartitionsLeft int    `json:"partitions_left"`
	BytesDone      uint64 `json:"bytes_done"`
	// BytesLeft is reckoned from what was done; -1: nothing was yet.
	BytesLeft      int64  `json:"bytes_left"`
	BytesPerSecond uint64 `json:"bytes_per_second"` // of the last 10 s
	Seconds        int64  `json:"seconds"`          // since it began
	SecondsLeft    int64  `json:"seconds_left"`     // -1: not known
	Paused         bool   `json:"paused,omitempty"`
}

// Trouble is one of a cluster's, and what mends it, in words for a person.
type Trouble struct {
	Text string `json:"text"`
	Do   string `json:"do"`
}

// NodeStatus is one server.
type NodeStatus struct {
	ID          string `json:"id"`
	Addr        string `json:"addr"`
	StreamAddr  string `json:"stream_addr"`
	Zone        string `json:"zone,omitempty"`
	State       string `json:"state"` // active, fault; for servers not attached: new, fault, refused
	Reachable   bool   `json:"reachable"`
	Incarnation uint64 `json:"incarnation"`
	Version     string `json:"version,omitempty"` // of kumofs; "": not known
	Replicas    int    `json:"replicas"`
	Primaries   int    `json:"primaries"`
	CopiesLeft  int    `json:"copies_left"`
	Leaving     string `json:"leaving,omitempty"` // draining: others take what it leads; drained: they have; stopping: it is about to end
	// Damaged is how many places of its store are damaged and not mended.
	Damaged int `json:"damaged,omitempty"`
	// Disk is "low" when little of its disk is free, "full" when it takes no writes for that.
	Disk string `json:"disk,omitempty"`
	Note string `json:"note,omitempty"`
}

// ManagerState is one manager.
type ManagerState struct {
	ID        string `json:"id"`
	Addr      string `json:"addr"`
	Leader    bool   `json:"leader"`
	Voter     bool   `json:"voter"`
	Reachable bool   `json:"reachable"`
	Version   string `json:"version,omitempty"` // of kumofs; "": not known
}

// WitnessState is one witness.
type WitnessState struct {
	ID        string `json:"id"`
	Addr      string `json:"addr"` // its server's
	Voter     bool   `json:"voter"`
	Reachable bool   `json:"reachable"`
}

// GatewayStatus is one gateway, or an application with the Go client.
type GatewayStatus struct {
	// Addr is where its link to the manager comes from.
	Addr string `json:"addr"`
	// HTTP is its port for monitoring (--http), as others reach it; "": it has none, or
	// does not tell.
	HTTP      string    `json:"http,omitempty"`
	Client    bool      `json:"client,omitempty"` // the Go client in an application
	Version   string    `json:"version,omitempty"`
	Connected time.Time `json:"connected_since"`
}

// Voter is what a manager, or a server's witness, says of itself to managers.
type Voter struct {
	ID   string `json:"id"` // "": no witness here
	Addr string `json:"addr"`
	// Cluster is the cluster's ID; "" before the first attach.
	Cluster string `json:"cluster,omitempty"`
	Version string `json:"version,omitempty"` // of kumofs; a manager's
	// Index is that of the last entry in its log.
	Index uint64 `json:"index"`
	// Leads: it leads; Leader is the address of the manager that does, as far as it knows.
	Leads  bool   `json:"leads,omitempty"`
	Leader string `json:"leader,omitempty"`
	// Members are the voters and those that are about to become voters; none: it
	// is blank and waits for its partners.
	Members []VoterMember `json:"members,omitempty"`
}

// VoterMember is one of Voter's Members.
type VoterMember struct {
	ID    string `json:"id"`
	Addr  string `json:"addr"`
	Voter bool   `json:"voter"`
}

// Join asks for a manager to be added.
type Join struct {
	ID   string `json:"id"`
	Addr string `json:"addr"`
}

// CommandRequest is one command of kumoctl: attach, attach-noreplace, detach,
// detach-noreplace, replace, full-replace, backup, enable-auto-replace,
// disable-auto-replace, recover, copying (pause, resume, rate=BYTES, at-once=N), cancel,
// drain and undrain (a server's address or ID). With AcceptLoss, recover takes the partitions
// that it is about: "all", or numbers and ranges like "0-3,7".
type CommandRequest struct {
	Command string   `json:"command"`
	Args    []string `json:"args,omitempty"`
	// Wait: answer when the copying that the command caused is done.
	Wait bool `json:"wait,omitempty"`
	// AcceptLoss names the cluster whose loss of data is accepted.
	AcceptLoss string `json:"accept_loss,omitempty"`
}

// CommandResponse is what the command did.
type CommandResponse struct {
	// Lines are for a person, in the past tense: "attached 127.0.0.1:19801".
	Lines []string `json:"lines"`
	// Nodes are the addresses it was about.
	Nodes []string `json:"nodes,omitempty"`
	Clock uint64   `json:"clock"`
	// Nothing: there was nothing to do; kumoctl exits 1.
	Nothing bool `json:"nothing,omitempty"`
}

// StatResponse is the answer to kumostat. Values are numbers or strings.
type StatResponse struct {
	Values map[string]any `json:"values"`
}

// HotKeys are the keys that a server, as primary, was asked for most in about the last
// minute, the hottest first. They are found by samples: of one request in Every.
type HotKeys struct {
	Every  int      `json:"sampled_one_in"`
	Reads  []HotKey `json:"reads"`
	Writes []HotKey `json:"writes"`
}

// HotKey is one of them.
type HotKey struct {
	// Key is the key, quoted as a Go string; Bytes is the key itself, in JSON as base64.
	Key       string `json:"key"`
	Bytes     []byte `json:"key_base64"`
	Partition uint16 `json:"partition"`
	// PerSecond is how often it is asked for at least, as far as samples tell.
	PerSecond float64 `json:"per_s"`
	// Share is that of all reads, or writes, of the server: 0 to 1.
	Share float64 `json:"share"`
}

// ScrubStatus is how the search of a server's store for damage goes.
type ScrubStatus struct {
	// Rate is what it reads at most, in bytes a second; 0: it does not scrub. Interval is between
	// the beginnings of two rounds, in seconds.
	Rate     int64 `json:"rate"`
	Interval int64 `json:"interval"`
	// Round is the number of the round that is Running, or ran last; 0: there was none.
	Round   uint64    `json:"round"`
	Running bool      `json:"running"`
	Began   time.Time `json:"began"`
	Ended   time.Time `json:"ended"`
	// What the round has read: tables, and then partitions of which the copies were compared, if this
	// server leads them. Skipped are those of them whose copies could not be compared.
	TablesDone     int    `json:"tables_done"`
	Tables         int    `json:"tables"`
	PartitionsDone int    `json:"partitions_done"`
	Partitions     int    `json:"partitions"`
	Skipped        int    `json:"partitions_skipped"`
	Bytes          uint64 `json:"bytes"`
	// Found and Mended count places since the server was started; Damaged are those that are not mended.
	Found   int64         `json:"found"`
	Mended  int64         `json:"mended"`
	Damaged []ScrubDamage `json:"damaged,omitempty"`
}

// ScrubNoCopy is the Why of what nobody can mend now.
const ScrubNoCopy = "there is no other copy now"

// ScrubDamage is a place in a store that is damaged, or differs from the other copies.
type ScrubDamage struct {
	Where string    `json:"where"` // partitions and keys, for a person
	First uint16    `json:"first_partition"`
	Last  uint16    `json:"last_partition"`
	Since time.Time `json:"since"`
	State string    `json:"state"`         // found, leaving, removing, joining
	Why   string    `json:"why,omitempty"` // it does not go on
}

// StorePosition is one partition's position in a store (R7): Version 0 with
// Unfinished false is an empty partition that never held anything.
type StorePosition struct {
	Partition  uint16
	Version    uint64
	Unfinished bool
}

// AttachSettle is how long `attach` with nothing attached yet waits for one more server.
const AttachSettle = time.Second
