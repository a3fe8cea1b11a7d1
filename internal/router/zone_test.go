package router

import (
	"testing"

	"github.com/kumofs/kumofs/internal/clustermap"
)

// Of several servers that answer, one of this process's zone is the way to another.
func TestDetourStaysInZone(t *testing.T) {
	for _, test := range []struct {
		zone string
		want clustermap.ServerID
	}{{"", 4}, {"west", 3}, {"east", 4}, {"north", 4}} {
		r := &Router{opt: Options{Zone: test.zone}, servers: map[clustermap.ServerID]*server{}}
		for _, s := range []server{{id: 1, zone: "west"}, {id: 2, zone: "west"}, {id: 3, zone: "west"}, {id: 4, zone: "east"}} {
			s.r = r
			s.link = &link{open: true, heard: int64(s.id)} // the higher was heard later
			r.servers[s.id] = &s
			s.link.server = r.servers[s.id]
		}
		lost := r.servers[1]
		lost.detour.failed = true
		if by := lost.detour.choose(lost); by == nil || by.id != test.want {
			t.Errorf("zone %q: by %v, want %v", test.zone, by, test.want)
		}
	}
}
