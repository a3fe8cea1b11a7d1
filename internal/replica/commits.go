package replica

import "time"

// Commits watches how long the commits of this server's own store take, and its
// reads: those may hang while commits go on in the kernel's memory. A disk that
// hangs without an error is a disk error, and so an accusation of oneself (R9). All
// times are Node.Awake: a server that stood still accuses nobody, and not its disk
// either.
type Commits struct {
	began int64 // when the one under way began
	busy  bool
	late  int64 // when one was last seen to be slow
	hang  bool
}

const (
	// HangLimit is how long a commit or a read may be under way. It is less than the
	// patience of a primary with a member, so that the managers know whose disks hang
	// before anyone is accused of it: of a primary that accuses all others they would
	// rather believe the others.
	HangLimit = 2500 * time.Millisecond
	// Commits and reads have to be done within slowCommit for calmFor, or not to be
	// needed, before the server takes part again.
	slowCommit = int64(500 * time.Millisecond)
	calmFor    = int64(3 * time.Second)
)

// Began notes that a commit has begun; one at a time. It is called again when one
// that found no room is tried again: a full disk is another matter.
func (c *Commits) Began(now int64) { c.busy, c.began = true, now }

// Ended notes that the commit is done.
func (c *Commits) Ended(now int64) {
	c.Hang(now)
	c.busy = false
}

// Reading notes that a read that began then is still under way; of several, the oldest.
func (c *Commits) Reading(now, began int64) { c.takes(now, now-began) }

// Hung notes that one took longer than HangLimit, and that this server stood still meanwhile.
func (c *Commits) Hung(now int64) { c.late, c.hang = now, true }

func (c *Commits) takes(now, d int64) {
	if d > slowCommit {
		c.late = now
		c.hang = c.hang || d > int64(HangLimit)
	}
}

// Hang tells whether commits or reads hang, or did a moment ago. It is called on every tick.
func (c *Commits) Hang(now int64) bool {
	if c.busy {
		c.takes(now, now-c.began)
	}
	c.hang = c.hang && now-c.late <= calmFor
	return c.hang
}
