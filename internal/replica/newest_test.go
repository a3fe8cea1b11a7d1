package replica

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/wire"
)

// TestNewest compares it with a map, with few and with many operations under way.
func TestNewest(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var l oplog
	var q newest
	want := map[string]inflight{}
	indexed := 0
	for i := range uint64(20_000) {
		e := entry{version: i + 1, ordered: true, key: fmt.Sprint(rnd.IntN(8 + int(i)%60)), effect: wire.EffectPut, item: &item.Item{Version: i + 1}}
		switch rnd.IntN(8) {
		case 0:
			e.effect, e.item = wire.EffectRemove, nil
		case 1:
			e.effect, e.item, e.key = wire.EffectNone, nil, ""
		case 2:
			e.effect, e.item, e.key = wire.EffectFlush, nil, ""
		}
		l.push(&e)
		if e.writes() {
			q.note(&l, &e)
			want[e.key] = inflight{e.version, e.item}
		}
		if q.index != nil {
			indexed++
		}
		if rnd.IntN(10+int(i)%30) == 0 {
			to := min(l.committed+rnd.Uint64N(80), i+1)
			for _, e := range l.entries[l.open:] {
				if e.version <= to {
					q.committed(&e)
					if f, ok := want[e.key]; ok && f.version == e.version {
						delete(want, e.key)
					}
				}
			}
			l.commit(to, to)
			q.shrink(&l)
		}
		if (q.n > 0) != (len(want) > 0) {
			t.Fatalf("%d may be found, %d should be", q.n, len(want))
		}
		for k := range 70 {
			key := fmt.Sprint(k)
			f, ok := q.of(&l, []byte(key))
			if w, there := want[key]; ok != there || f != w {
				t.Fatalf("operation %d, key %s: %v %v, not %v %v", i, key, f, ok, w, there)
			}
		}
	}
	if indexed < 1000 || indexed > 19_000 {
		t.Fatalf("%d of 20000 operations had an index", indexed)
	}
}
