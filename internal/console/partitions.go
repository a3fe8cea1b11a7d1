package console

import (
	"encoding/json"
	"slices"
	"strconv"

	"github.com/kumofs/kumofs/internal/clustermap"
)

// partitions tells the page which partitions lie where: all of them, or how they
// differ from those of the map with version has; nil where that is the newest.
//
//	{"clock":V, "servers":[ID...], "count":N, "at":[i...], "rows":[[epoch, flags, [replicas], [joining], [planned], [last known]]...]}
//
// Members are numbers of servers; without "at" rows are all. Empty lists at the end of
// a row are left out; last known is told only where there is no replica.
func (c *Console) partitions(m *clustermap.Map, has uint64) json.RawMessage {
	if has == m.Version && has != 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.kept(has)
	c.keep(m)
	if old != nil {
		return encodePartitions(m, old)
	}
	if c.fullOf != m {
		c.full, c.fullOf = encodePartitions(m, nil), m
	}
	return c.full
}

func (c *Console) kept(version uint64) *clustermap.Map {
	for _, m := range c.maps {
		if m.Version == version {
			return m
		}
	}
	return nil
}

func (c *Console) keep(m *clustermap.Map) {
	if c.kept(m.Version) != nil {
		return
	}
	if len(c.maps) == keptMaps {
		c.maps = slices.Delete(c.maps, 0, 1)
	}
	c.maps = append(c.maps, m)
}

// Flags of a row.
const (
	flagActive  = 1
	flagAwaited = 2
)

// encodePartitions encodes m, or what differs from old where servers and number of
// partitions are the same.
func encodePartitions(m, old *clustermap.Map) []byte {
	at := make(map[clustermap.ServerID]int, len(m.Servers))
	ids := make([]string, len(m.Servers))
	for i := range m.Servers {
		at[m.Servers[i].ID], ids[i] = i, m.Servers[i].ID.String()
	}
	if old != nil && (len(old.Partitions) != len(m.Partitions) ||
		!slices.EqualFunc(old.Servers, m.Servers, func(a, b clustermap.Server) bool { return a.ID == b.ID })) {
		old = nil
	}
	names, err := json.Marshal(ids)
	if err != nil {
		panic(err) // strings
	}
	b := make([]byte, 0, 1024)
	if old == nil {
		b = make([]byte, 0, 24*len(m.Partitions)+1024)
	}
	b = append(b, `{"clock":`...)
	b = strconv.AppendUint(b, m.Version, 10)
	b = append(b, `,"count":`...)
	b = strconv.AppendInt(b, int64(len(m.Partitions)), 10)
	b = append(b, `,"servers":`...)
	b = append(b, names...)
	var list []int
	if old != nil {
		for i := range m.Partitions {
			if differs(&m.Partitions[i], &old.Partitions[i]) {
				list = append(list, i)
			}
		}
		b = append(b, `,"at":`...)
		b = appendInts(b, list)
	}
	b = append(b, `,"rows":[`...)
	row := func(n, i int) {
		if n > 0 {
			b = append(b, ',')
		}
		b = appendRow(b, &m.Partitions[i], at)
	}
	if old != nil {
		for n, i := range list {
			row(n, i)
		}
	} else {
		for i := range m.Partitions {
			row(i, i)
		}
	}
	return append(b, "]}"...)
}

// differs in what a row shows: members change with the epoch only.
func differs(p, o *clustermap.Partition) bool {
	return p.Epoch != o.Epoch || p.Active != o.Active || len(p.Awaited) != len(o.Awaited) ||
		!slices.Equal(p.Assigned, o.Assigned) || len(p.Replicas) == 0 && !slices.Equal(p.LastKnown, o.LastKnown)
}

func appendRow(b []byte, p *clustermap.Partition, at map[clustermap.ServerID]int) []byte {
	flags := 0
	if p.Active {
		flags |= flagActive
	}
	if len(p.Awaited) > 0 {
		flags |= flagAwaited
	}
	b = append(b, '[')
	b = strconv.AppendUint(b, uint64(p.Epoch), 10)
	b = append(b, ',')
	b = strconv.AppendInt(b, int64(flags), 10)
	var planned, last []clustermap.ServerID
	for _, id := range p.Assigned {
		if !slices.Contains(p.Replicas, id) && !slices.Contains(p.Joining, id) {
			planned = append(planned, id)
		}
	}
	if len(p.Replicas) == 0 {
		last = p.LastKnown
	}
	lists := [][]clustermap.ServerID{p.Replicas, p.Joining, planned, last}
	n := len(lists)
	for n > 0 && len(lists[n-1]) == 0 {
		n--
	}
	for _, ids := range lists[:n] {
		b = append(b, ',')
		members := make([]int, 0, len(ids))
		for _, id := range ids {
			if i, ok := at[id]; ok { // last known ones may be detached
				members = append(members, i)
			}
		}
		b = appendInts(b, members)
	}
	return append(b, ']')
}

func appendInts(b []byte, list []int) []byte {
	b = append(b, '[')
	for i, n := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(n), 10)
	}
	return append(b, ']')
}
