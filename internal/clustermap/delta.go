package clustermap

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

var (
	// ErrBase: the delta was made for another version of the map.
	ErrBase = errors.New("the delta is not for this version of the cluster map")
	// ErrEpoch: the partition has moved on since the change was planned (R3).
	ErrEpoch = errors.New("the partition's epoch has changed")
	// ErrEpochExhausted: the partition has used up its epochs. Versions would
	// no longer be positive, so nothing but a new cluster helps.
	ErrEpochExhausted = errors.New("the partition's epochs are exhausted")
	// ErrRefused is wrapped by every other refusal of a step.
	ErrRefused = errors.New("the step is not allowed")
)

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}

// Apply is the map after d; m itself stays as it was. A nil m is the empty
// map. The new map shares what d does not touch with m, and shares the slices
// inside d's changes, so neither may be altered afterwards.
//
// The step is taken whole or not at all: it fails with ErrBase, ErrEpoch,
// ErrEpochExhausted, ErrRefused or ErrInvalid (wrapped, with the partition or
// server at fault). Given a valid m, the result is valid.
func (m *Map) Apply(d *Delta) (*Map, error) {
	if m == nil {
		m = &Map{}
	}
	if d.Base != m.Version {
		return nil, fmt.Errorf("%w: it is for %d, the map is %d", ErrBase, d.Base, m.Version)
	}
	if d.Recover != nil {
		return m.recover(d)
	}
	next := *m
	next.Version++
	next.Updated = d.Updated
	if err := next.create(d.Create); err != nil {
		return nil, err
	}
	if d.AutoReplace != nil {
		next.AutoReplace = *d.AutoReplace
	}
	if d.Copying != nil {
		if err := d.Copying.check(); err != nil {
			return nil, err
		}
		next.Copying = *d.Copying
	}
	var touched bitset
	if len(d.Partitions) > 0 {
		next.Partitions = slices.Clone(next.Partitions)
		touched = newBitset(len(next.Partitions))
	}
	if err := next.ban(d.Ban); err != nil {
		return nil, err
	}
	ended, err := next.changeServers(d)
	if err != nil {
		return nil, err
	}
	for i := range d.Partitions {
		c := &d.Partitions[i]
		n := int(c.Index)
		if n >= len(next.Partitions) {
			return nil, refused("partition %d does not exist", n)
		}
		if touched.has(n) {
			return nil, refused("partition %d is changed twice", n)
		}
		touched.set(n)
		if err := checkStep(&next.Partitions[n], c); err != nil {
			return nil, fmt.Errorf("partition %d: %w", n, err)
		}
		next.Partitions[n] = c.New
	}
	for i := range d.Partitions {
		if err := next.checkPartition(int(d.Partitions[i].Index)); err != nil {
			return nil, err
		}
	}
	if err := next.checkEnded(m, ended); err != nil {
		return nil, err
	}
	return &next, nil
}

// MaxAtOnce bounds Copying.AtOnce.
const MaxAtOnce = 64

func (c *Copying) check() error {
	if c.Rate < 0 || c.AtOnce < 0 || c.AtOnce > MaxAtOnce {
		return refused("copying at %d bytes a second, %d at once", c.Rate, c.AtOnce)
	}
	return nil
}

// recover is the map that d rebuilt, if m is empty.
func (m *Map) recover(d *Delta) (*Map, error) {
	switch {
	case m.ClusterID != 0:
		return nil, refused("cluster %s exists already, its managers have lost nothing", m.ClusterID)
	case d.Create != nil || d.AutoReplace != nil || d.Copying != nil || len(d.SetServers)+len(d.RemoveServers)+len(d.Partitions)+len(d.Ban) > 0:
		return nil, refused("a rebuilt map comes with nothing else")
	case d.Recover.ClusterID == 0 || d.Recover.Recovered != d.Recover.Version:
		return nil, refused("the map is not one that was rebuilt")
	}
	for i := range d.Recover.Partitions {
		if d.Recover.Partitions[i].Active {
			return nil, refused("partition %d is active in a rebuilt map", i)
		}
	}
	next := *d.Recover
	next.Updated = d.Updated
	if err := next.Validate(); err != nil {
		return nil, err
	}
	return &next, nil
}

// create makes the cluster if m is empty.
func (m *Map) create(c *Creation) error {
	if c == nil {
		if m.ClusterID == 0 {
			return refused("no cluster has been created")
		}
		return nil
	}
	switch {
	case m.ClusterID != 0:
		return refused("cluster %s exists already", m.ClusterID)
	case c.ClusterID == 0:
		return refused("a cluster needs an ID")
	}
	if err := checkShape(c.Partitions, c.Replication); err != nil {
		return err
	}
	m.ClusterID, m.Replication = c.ClusterID, c.Replication
	m.Partitions = make([]Partition, c.Partitions)
	for i := range m.Partitions {
		m.Partitions[i].Epoch = 1
	}
	return nil
}

// ban adds to the stores that were given up. Banning one again does nothing.
func (m *Map) ban(ids []ServerID) error {
	if len(ids) == 0 {
		return nil
	}
	m.Banned = slices.Clone(m.Banned)
	for _, id := range ids {
		if id == 0 {
			return refused("a zero server ID cannot be banned")
		}
		if !slices.Contains(m.Banned, id) {
			m.Banned = append(m.Banned, id)
		}
	}
	return nil
}

// changeServers sets and removes servers. It returns those whose roles end:
// the removed ones, and those registered with a higher incarnation.
func (m *Map) changeServers(d *Delta) (ended []ServerID, err error) {
	if len(d.SetServers)+len(d.RemoveServers) == 0 {
		return nil, nil
	}
	for i := range d.SetServers {
		s := &d.SetServers[i]
		if err := checkServer(s); err != nil {
			return nil, err
		}
		old := m.Server(s.ID)
		switch {
		case old == nil && slices.Contains(m.Banned, s.ID):
			return nil, refused("server %s was given up and is banned", s.ID)
		case old != nil && s.Incarnation < old.Incarnation:
			return nil, refused("server %s: incarnation %d is older than the map's %d", s.ID, s.Incarnation, old.Incarnation)
		case old != nil && s.Incarnation > old.Incarnation:
			ended = append(ended, s.ID)
		}
		if slices.ContainsFunc(d.SetServers[:i], func(o Server) bool { return o.ID == s.ID }) {
			return nil, refused("server %s is set twice", s.ID)
		}
	}
	for i, id := range d.RemoveServers {
		if m.Server(id) == nil {
			return nil, refused("server %s cannot be removed: it is not in the map", id)
		}
		if slices.ContainsFunc(d.SetServers, func(s Server) bool { return s.ID == id }) {
			return nil, refused("server %s is both set and removed", id)
		}
		if slices.Contains(d.RemoveServers[:i], id) {
			return nil, refused("server %s is removed twice", id)
		}
	}
	ended = append(ended, d.RemoveServers...)
	servers := make([]Server, 0, len(m.Servers)+len(d.SetServers))
	for _, s := range m.Servers {
		changed := slices.ContainsFunc(d.SetServers, func(o Server) bool { return o.ID == s.ID })
		if !changed && !slices.Contains(d.RemoveServers, s.ID) {
			servers = append(servers, s)
		}
	}
	servers = append(servers, d.SetServers...)
	slices.SortFunc(servers, func(a, b Server) int { return cmp.Compare(a.ID, b.ID) })
	m.Servers = servers
	return ended, nil
}

// checkStep checks one partition's step against R3 and R4.
func checkStep(old *Partition, c *PartitionChange) error {
	next := &c.New
	if old.Epoch != c.OldEpoch {
		return fmt.Errorf("%w: the step is from %d, the map has %d", ErrEpoch, c.OldEpoch, old.Epoch)
	}
	if next.Epoch >= MaxEpoch {
		return fmt.Errorf("%w: epoch %d is not below %d", ErrEpochExhausted, next.Epoch, MaxEpoch)
	}
	if next.Epoch < old.Epoch {
		return refused("epoch %d is older than %d", next.Epoch, old.Epoch)
	}
	if next.Epoch == old.Epoch {
		if !slices.Equal(old.Replicas, next.Replicas) || !slices.Equal(old.Joining, next.Joining) {
			return refused("replicas or joining change within epoch %d", old.Epoch)
		}
		if old.Active && !next.Active {
			return refused("epoch %d was active and cannot cease to be", old.Epoch)
		}
		return nil
	}
	// A new epoch is active only by keeping an activation of the same primary
	// in the same incarnation; any other waits for its own report.
	if next.Active && !(old.Active && next.Primary() == old.Primary() &&
		next.LastPrimaryIncarnation == old.LastPrimaryIncarnation) {
		return refused("epoch %d cannot start active: it does not keep an activation", next.Epoch)
	}
	return nil
}

// checkEnded checks, where roles ended, that the step took them all away: a
// removed server is named nowhere, and a server with a new incarnation only in
// partitions that got a new epoch (R3).
func (m *Map) checkEnded(old *Map, ended []ServerID) error {
	if len(ended) == 0 {
		return nil
	}
	removed := make(map[ServerID]bool, len(ended)) // the others have a new incarnation
	for _, id := range ended {
		removed[id] = m.Server(id) == nil
	}
	for i := range m.Partitions {
		p := &m.Partitions[i]
		for _, list := range [...][]ServerID{p.Replicas, p.Joining, p.Assigned} {
			for _, id := range list {
				if removed[id] {
					return refused("server %s is removed, but partition %d names it", id, i)
				}
			}
		}
		if p.Epoch != old.Partitions[i].Epoch {
			continue
		}
		for _, list := range [...][]ServerID{p.Replicas, p.Joining} {
			for _, id := range list {
				if _, is := removed[id]; is {
					return refused("server %s has a new incarnation, but keeps its old role in partition %d", id, i)
				}
			}
		}
	}
	return nil
}

// bitset is a set of small numbers.
type bitset []uint64

func newBitset(n int) bitset    { return make(bitset, (n+63)/64) }
func (b bitset) set(i int)      { b[i/64] |= 1 << (i % 64) }
func (b bitset) has(i int) bool { return b[i/64]&(1<<(i%64)) != 0 }
