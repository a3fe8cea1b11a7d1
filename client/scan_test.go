package client_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/kumofs/kumofs/client"
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/wire"
)

// fill gives the server n items, some of them large, and returns their keys in order.
func (g *rig) fill(n int) (keys []string) {
	rnd := rand.New(rand.NewPCG(1, uint64(n)))
	g.on(func() {
		clear(g.server.Store.Items)
		for i := range n {
			key := fmt.Sprintf("%c%05d", 'a'+rnd.IntN(3), i)
			size := rnd.IntN(200)
			if i%50 == 0 {
				size = 5000
			}
			g.server.Store.Version++
			g.server.Store.Items[key] = &item.Item{Version: g.server.Store.Version, Flags: uint32(i), Value: []byte(strings.Repeat("v", size))}
			keys = append(keys, key)
		}
	})
	slices.Sort(keys)
	return keys
}

func (g *rig) check(it *client.Item, keysOnly bool) {
	g.t.Helper()
	var want *item.Item
	g.on(func() { want = g.server.Store.Items[it.Key] })
	if want == nil || it.Flags != want.Flags || it.CAS != want.CAS() || keysOnly && it.Value != nil || !keysOnly && string(it.Value) != string(want.Value) {
		g.t.Errorf("%q: %+v, want %+v", it.Key, it, want)
	}
}

func TestScan(t *testing.T) {
	g := newRig(t)
	c := open(t, client.Options{Managers: []string{g.addr}})
	for _, n := range []int{0, 1, 1200} {
		keys := g.fill(n)
		byPartition := slices.Clone(keys)
		slices.SortStableFunc(byPartition, func(a, b string) int {
			return int(clustermap.PartitionOf([]byte(a), rigParts)) - int(clustermap.PartitionOf([]byte(b), rigParts))
		})
		for _, opt := range []client.ScanOptions{
			{}, {Unordered: true}, {KeysOnly: true}, {Unordered: true, KeysOnly: true}, {MaxMemory: 1}, {Unordered: true, MaxMemory: 1},
		} {
			for _, prefix := range []string{"", "a", "a0", "zz"} {
				t.Run(fmt.Sprintf("%d items %q %+v", n, prefix, opt), func(t *testing.T) {
					want := keys
					if opt.Unordered {
						want = byPartition
					}
					want = slices.DeleteFunc(slices.Clone(want), func(k string) bool { return !strings.HasPrefix(k, prefix) })
					var got []string
					for it, err := range c.Scan(t.Context(), []byte(prefix), opt) {
						if err != nil {
							t.Fatal(err)
						}
						if got = append(got, it.Key); len(got)%100 == 0 || len(it.Value) > 1000 {
							g.check(&it, opt.KeysOnly)
						}
					}
					if !slices.Equal(got, want) {
						t.Fatalf("%d keys, want %d", len(got), len(want))
					}
					// It can be left anywhere, and gone on with after any key.
					for range min(2, len(want)) {
						i := rand.IntN(len(want))
						opt := opt
						opt.After = want[i]
						left := want[i+1:]
						most := rand.IntN(200)
						for it, err := range c.Scan(t.Context(), []byte(prefix), opt) {
							if err != nil || len(left) == 0 || it.Key != left[0] {
								t.Fatalf("after %q: %q, %v", opt.After, it.Key, err)
							}
							left = left[1:]
							if most--; most < 0 {
								break
							}
						}
						if most >= 0 && len(left) > 0 {
							t.Fatalf("after %q: %d keys are missing", opt.After, len(left))
						}
					}
				})
			}
		}
	}
}

// A scan that is left early asks for nothing any more, and costs no more than was
// on its way.
func TestScanStops(t *testing.T) {
	g := newRig(t)
	c := open(t, client.Options{Managers: []string{g.addr}})
	g.fill(1000)
	for range 20 {
		for _, err := range c.Scan(t.Context(), nil, client.ScanOptions{Unordered: true, MaxMemory: 1}) {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	var scans int
	g.on(func() { scans = g.server.Scans })
	if scans > 20*40 {
		t.Errorf("%d pages for the first items of 20 scans", scans)
	}
}

func TestScanErrors(t *testing.T) {
	g := newRig(t)
	c := open(t, client.Options{Managers: []string{g.addr}})
	keys := g.fill(500)
	if err := scanErr(c, t.Context(), client.ScanOptions{After: strings.Repeat("x", 251)}); !errors.Is(err, client.ErrBadKey) {
		t.Error(err)
	}
	// One partition cannot be read: what comes before is given, then the error.
	for name, answer := range map[string]func(q *wire.Scan, b []byte) []byte{
		"failed": func(q *wire.Scan, b []byte) []byte {
			return wire.AppendReply(b, &wire.Reply{ID: q.ID, Result: item.Result{Status: item.Failed, Message: "disk on fire"}})
		},
		"no page": func(q *wire.Scan, b []byte) []byte {
			return wire.AppendReply(b, &wire.Reply{ID: q.ID, Result: item.Result{Status: item.OK}})
		},
		"no progress": func(q *wire.Scan, b []byte) []byte {
			return wire.AppendPage(b, &wire.Page{ID: q.ID, More: true, Next: q.From})
		},
	} {
		for _, unordered := range []bool{false, true} {
			ill := clustermap.PartitionOf([]byte(keys[250]), rigParts)
			g.on(func() {
				g.server.ScanScript = func(q *wire.Scan, reply func(func([]byte) []byte)) bool {
					if q.Partition == ill && len(q.From) > 0 {
						reply(func(b []byte) []byte { return answer(q, b) })
						return true
					}
					if q.Partition == ill {
						q.MaxItems = 1
					}
					return false
				}
			})
			given, last := 0, error(nil)
			for it, err := range c.Scan(t.Context(), nil, client.ScanOptions{Unordered: unordered}) {
				if last != nil {
					t.Fatalf("%s: %q after the error", name, it.Key)
				}
				given++
				last = err
			}
			if !errors.Is(last, client.ErrUnavailable) || given < 2 || given > 500 {
				t.Errorf("%s, unordered %v: %d pairs, then %v", name, unordered, given, last)
			}
		}
	}
}

// Items that change while a scan runs do not disturb it: those that stay are given
// exactly once.
func TestScanAmongWrites(t *testing.T) {
	g := newRig(t)
	c := open(t, client.Options{Managers: []string{g.addr}})
	keys := g.fill(1000)
	for _, unordered := range []bool{false, true} {
		seen := map[string]int{}
		for it, err := range c.Scan(t.Context(), nil, client.ScanOptions{Unordered: unordered, MaxMemory: 1}) {
			if err != nil {
				t.Fatal(err)
			}
			if seen[it.Key]++; len(seen)%10 == 0 {
				g.on(func() {
					gone := keys[rand.IntN(len(keys)/2)*2] // half of them, large ones among those
					delete(g.server.Store.Items, gone)
					g.server.Store.Items["new"+gone] = &item.Item{Version: 1}
				})
			}
		}
		for i, k := range keys {
			if seen[k] > 1 || i%2 == 1 && seen[k] != 1 {
				t.Fatalf("%q was given %d times", k, seen[k])
			}
		}
	}
}
