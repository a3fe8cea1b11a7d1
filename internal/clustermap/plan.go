package clustermap

import (
	"cmp"
	"slices"
	"strconv"
)

// PlanOptions are what planning may be asked for beyond the map. The zero
// value plans for the map as it is, all servers weighing the same.
type PlanOptions struct {
	// Replication is the number of copies wanted of each partition; 0 means the map's.
	Replication int
}

// Assign is the list of servers that should hold each partition, the first of
// them the primary, when exactly servers are to hold everything. It starts from
// each partition's Assigned (or Replicas where nothing is assigned).
//
// Each partition gets min(replication, len(servers)) copies on as many servers.
// Then, the earlier before the later:
//
//  1. every server is within one copy and one primary of the mean;
//  2. copies of one partition share as few zones, then as few hosts, as that allows;
//  3. as few copies as possible are made on servers without one;
//  4. few partitions change their primary.
//
// 1 always holds. 2 and 3 are exact unless repairing them would take very long
// (thousands of copies that are badly placed at once, or a map too large for it:
// partitions times servers beyond 13 million, or a thousand servers). The result depends
// on nothing but the arguments, and not on the order of servers; assigning it
// and planning again changes nothing.
func Assign(m *Map, servers []Server, opts PlanOptions) [][]ServerID {
	replication := opts.Replication
	if replication <= 0 {
		replication = m.Replication
	}
	pl := newPlanner(m, servers, replication)
	if pl.copies == 0 {
		return make([][]ServerID, len(m.Partitions))
	}
	pl.fillHoles()
	pl.shedSurplus()
	pl.patchHoles()
	pl.separate()
	pl.refine()
	pl.choosePrimaries()
	return pl.result()
}

// planner works on indices: servers by their place in the sorted list.
type planner struct {
	servers []Server
	copies  int // of each partition
	zone    []int32
	host    []int32 // a host is an address within a zone
	// sets are the servers of each partition; base are those it began with,
	// the first its primary (or none: -1).
	sets        [][]int32
	base        [][]int32
	basePrimary []int32
	primary     []int32
	// had are the servers with a copy of each partition to begin with. Like sets
	// these are short lists: a table of partitions by servers would be large.
	had   [][]int32
	load  []int
	quota []int
	// floor and ceil bound every quota.
	floor, ceil int
	zoneNeed    []int // copies that each zone is short of
	hostNeed    []int
	inZone      [][]int32 // the servers of each zone
	hosts       int
	pairs       []int32 // partitions that two servers share
	turn        int     // where separate looks first
}

func newPlanner(m *Map, servers []Server, replication int) *planner {
	servers = slices.Clone(servers)
	slices.SortFunc(servers, func(a, b Server) int { return cmp.Compare(a.ID, b.ID) })
	servers = slices.CompactFunc(servers, func(a, b Server) bool { return a.ID == b.ID })
	n, parts := len(servers), len(m.Partitions)
	pl := &planner{
		servers:     servers,
		copies:      min(replication, n),
		sets:        make([][]int32, parts),
		base:        make([][]int32, parts),
		basePrimary: make([]int32, parts),
		primary:     make([]int32, parts),
		had:         make([][]int32, parts),
		load:        make([]int, n),
		pairs:       make([]int32, n*n),
	}
	pl.zone, pl.host = places(servers)
	pl.inZone = make([][]int32, n)
	for _, h := range pl.host {
		pl.hosts = max(pl.hosts, int(h)+1)
	}
	for s, z := range pl.zone {
		pl.inZone[z] = append(pl.inZone[z], int32(s))
	}
	index := make(map[ServerID]int32, n)
	for i, s := range servers {
		index[s.ID] = int32(i)
	}
	for p := range m.Partitions {
		part := &m.Partitions[p]
		from := part.Assigned
		if len(from) == 0 {
			from = part.Replicas
		}
		pl.basePrimary[p] = -1
		pl.sets[p] = make([]int32, 0, pl.copies)
		for i, id := range from {
			s, ok := index[id]
			if !ok || len(pl.sets[p]) == pl.copies || pl.in(p, s) {
				continue
			}
			if i == 0 {
				pl.basePrimary[p] = s
			}
			pl.add(p, s)
		}
		pl.base[p] = slices.Clone(pl.sets[p])
		pl.had[p] = pl.base[p]
		for _, id := range part.Replicas {
			if s, ok := index[id]; ok && !slices.Contains(pl.had[p], s) {
				pl.had[p] = append(slices.Clip(pl.had[p]), s)
			}
		}
	}
	pl.setQuotas()
	return pl
}

// places numbers the zones and hosts of servers.
func places(servers []Server) (zone, host []int32) {
	zones, hosts := map[string]int32{}, map[string]int32{}
	number := func(m map[string]int32, key string) int32 {
		i, ok := m[key]
		if !ok {
			i = int32(len(m))
			m[key] = i
		}
		return i
	}
	for i := range servers {
		s := &servers[i]
		z := number(zones, s.Zone)
		zone = append(zone, z)
		host = append(host, number(hosts, strconv.Itoa(int(z))+" "+hostOf(s.Addr)))
	}
	return zone, host
}

// hostOf is addr without its port.
func hostOf(addr string) string {
	for i := len(addr) - 1; i >= 0; i-- {
		if addr[i] == ':' {
			return addr[:i]
		}
	}
	return addr
}

func (pl *planner) in(p int, s int32) bool { return slices.Contains(pl.sets[p], s) }

// price is what a copy of p on s costs: 1 if it has to be made.
func (pl *planner) price(p int, s int32) int {
	if slices.Contains(pl.had[p], s) {
		return 0
	}
	return 1
}

func (pl *planner) add(p int, s int32) {
	n := len(pl.servers)
	for _, o := range pl.sets[p] {
		pl.pairs[int(s)*n+int(o)]++
		pl.pairs[int(o)*n+int(s)]++
	}
	pl.sets[p] = append(pl.sets[p], s)
	pl.load[s]++
	if pl.zoneNeed != nil {
		pl.zoneNeed[pl.zone[s]]--
		pl.hostNeed[pl.host[s]]--
	}
}

func (pl *planner) drop(p int, s int32) {
	n := len(pl.servers)
	i := slices.Index(pl.sets[p], s)
	pl.sets[p] = slices.Delete(pl.sets[p], i, i+1)
	for _, o := range pl.sets[p] {
		pl.pairs[int(s)*n+int(o)]--
		pl.pairs[int(o)*n+int(s)]--
	}
	pl.load[s]--
	if pl.zoneNeed != nil {
		pl.zoneNeed[pl.zone[s]]++
		pl.hostNeed[pl.host[s]]++
	}
}

// swap gives s's copy of p to t.
func (pl *planner) swap(p int, s, t int32) {
	pl.drop(p, s)
	pl.add(p, t)
}

// sharing counts the others of p's set (without the server except, -1 for
// none) that are in the zone and on the host of t.
func (pl *planner) sharing(p int, except, t int32) (zone, host int) {
	for _, o := range pl.sets[p] {
		if o == except {
			continue
		}
		if pl.zone[o] == pl.zone[t] {
			zone++
		}
		if pl.host[o] == pl.host[t] {
			host++
		}
	}
	return zone, host
}

// crowding is how much worse it is to have t in the place of s in p: whether
// one more zone, and one more host, is shared.
func (pl *planner) crowding(p int, s, t int32) (zone, host int) {
	sz, sh := pl.sharing(p, s, s)
	tz, th := pl.sharing(p, s, t)
	return min(tz, 1) - min(sz, 1), min(th, 1) - min(sh, 1)
}

// result lists each partition's primary, then the servers it began with in
// their order, then the new ones.
func (pl *planner) result() [][]ServerID {
	out := make([][]ServerID, len(pl.sets))
	all := make([]ServerID, len(pl.sets)*pl.copies)
	for p, set := range pl.sets {
		list := all[p*pl.copies : p*pl.copies : (p+1)*pl.copies]
		list = append(list, pl.servers[pl.primary[p]].ID)
		for _, s := range pl.base[p] {
			if s != pl.primary[p] && pl.in(p, s) {
				list = append(list, pl.servers[s].ID)
			}
		}
		for _, s := range set {
			if s != pl.primary[p] && !slices.Contains(pl.base[p], s) {
				list = append(list, pl.servers[s].ID)
			}
		}
		out[p] = list
	}
	return out
}
