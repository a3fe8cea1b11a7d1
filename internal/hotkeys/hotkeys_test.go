package hotkeys

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// zipf is so many keys of which the i-th is asked for in proportion to 1/(i+1)^s.
type zipf struct {
	until []float64 // cumulated
	keys  [][]byte
}

func newZipf(n int, s float64) *zipf {
	z := &zipf{}
	sum := 0.0
	for i := range n {
		sum += 1 / math.Pow(float64(i+1), s)
		z.until = append(z.until, sum)
		z.keys = append(z.keys, fmt.Appendf(nil, "key-%06d", i))
	}
	for i := range z.until {
		z.until[i] /= sum
	}
	return z
}

func (z *zipf) draw(r *rand.Rand) int {
	i, _ := slices.BinarySearch(z.until, r.Float64())
	return min(i, len(z.keys)-1)
}

// share is how much of all the i-th is.
func (z *zipf) share(i int) float64 {
	if i == 0 {
		return z.until[0]
	}
	return z.until[i] - z.until[i-1]
}

// read hands requests to f as a server does.
func read(f *Finder, part uint16, key []byte) {
	if f.Sample() {
		f.Read(part, key)
	}
}

func TestZipf(t *testing.T) {
	z, r := newZipf(100_000, 1), rand.New(rand.NewPCG(1, 2))
	var f Finder
	const perSecond, seconds = 6_400, 150
	for range seconds {
		for range perSecond {
			i := z.draw(r)
			read(&f, uint16(i), z.keys[i])
		}
		f.Age(1)
	}
	got := f.Reads(20)
	if len(got) != 20 {
		t.Fatalf("%d keys", len(got))
	}
	for i, k := range got {
		if !slices.IsSortedFunc(got, compare) || !bytes.Equal(k.Key, z.keys[k.Partition]) {
			t.Fatalf("%v", got)
		}
		if i < 8 && k.Partition > 12 {
			t.Errorf("place %d has %q", i, k.Key)
		}
	}
	for i := range 5 {
		place := slices.IndexFunc(got, func(k Key) bool { return int(k.Partition) == i })
		if place < 0 {
			t.Errorf("the %d. key is not among %d", i, len(got))
			continue
		}
		// What a sample of so many can tell, four times its standard deviation.
		want := z.share(i) * perSecond
		most := 4 * math.Sqrt(want/Every*Window/2) / Window * Every
		if k := got[place]; math.Abs(k.PerSecond-want) > most+want/50 || math.Abs(k.Share-z.share(i)) > (most+want/50)/perSecond {
			t.Errorf("%q: %.1f/s %.4f, want %.1f/s %.4f give or take %.1f", k.Key, k.PerSecond, k.Share, want, z.share(i), most)
		}
	}
	if w := f.Writes(20); len(w) != 0 {
		t.Errorf("writes: %v", w)
	}
}

// Where all keys are alike none is hot.
func TestUniform(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var f Finder
	var key [8]byte
	for range 30 {
		for range 20_000 {
			binary.BigEndian.PutUint64(key[:], r.Uint64N(1_000_000))
			read(&f, 0, key[:])
		}
		f.Age(1)
	}
	if got := f.Reads(20); len(got) > 1 {
		t.Errorf("%d keys, the first %+v", len(got), got[0])
	}
}

// A client that asks for a number of keys in turn must not have one of them taken for
// all, nor another for none.
func TestInTurn(t *testing.T) {
	for _, n := range []int{2, 32, 64, 128} {
		var f Finder
		for range 3000 {
			for i := range n {
				read(&f, 0, []byte{byte(i)})
			}
		}
		f.Age(1)
		got := f.Reads(n)
		if len(got) != n {
			t.Fatalf("%d of %d keys", len(got), n)
		}
		if most, least := got[0].PerSecond, got[n-1].PerSecond; most > 3*least {
			t.Errorf("of %d keys one has %.0f/s, another %.0f/s", n, most, least)
		}
	}
}

func TestAge(t *testing.T) {
	var f Finder
	second := func(key string, n int) {
		for range n {
			read(&f, 1, []byte(key))
		}
		f.Age(1)
	}
	rates := func() (a, b float64) {
		for _, k := range f.Reads(Most) {
			switch string(k.Key) {
			case "old":
				a = k.PerSecond
			case "new":
				b = k.PerSecond
			}
		}
		return a, b
	}
	for range 5 {
		second("old", 3200)
	}
	if a, _ := rates(); math.Abs(a-3200) > 700 {
		t.Errorf("%.0f/s after five seconds", a) // not a twelfth of it
	}
	for range 200 {
		second("old", 3200)
	}
	if a, _ := rates(); math.Abs(a-3200) > 350 {
		t.Errorf("%.0f/s after some minutes", a)
	}
	for range 60 {
		second("new", 3200)
	}
	if a, b := rates(); math.Abs(a-3200/math.E) > 300 || math.Abs(b-3200*(1-1/math.E)) > 500 {
		t.Errorf("a minute later %.0f/s and %.0f/s", a, b)
	}
	f.Age(600)
	if a, b := rates(); a != 0 || b != 0 {
		t.Errorf("ten minutes later %.0f/s and %.0f/s", a, b)
	}
	f.Age(3600)
	if f.reads.used != 0 || f.reads.total != 0 {
		t.Errorf("%d keys are still followed", f.reads.used)
	}
}

func TestReadsAndWritesApart(t *testing.T) {
	var f Finder
	for range 100_000 {
		if f.Sample() {
			f.Write(7, []byte("w"))
		}
		if f.Sample() {
			f.Pass()
		}
	}
	f.Age(1)
	if r, w := f.Reads(9), f.Writes(9); len(r) != 0 || len(w) != 1 || w[0].Partition != 7 || string(w[0].Key) != "w" || w[0].Share != 1 {
		t.Errorf("%v %v", r, w)
	}
	if got := f.Writes(0); len(got) != 0 {
		t.Error(got)
	}
}

// check fails where the sketch's parts do not fit each other.
func (s *sketch) check(t *testing.T) {
	t.Helper()
	linked := 0
	for h := range s.heads {
		for i := s.heads[h]; i != 0; i = s.slots[i-1].next {
			if c := &s.slots[i-1]; int(i-1) >= s.used || int(c.hash%buckets) != h || s.sure(int(i-1)) < 0 {
				t.Fatalf("slot %d of %d in chain %d: %v", i-1, s.used, h, c)
			}
			linked++
		}
	}
	if linked != s.used {
		t.Fatalf("%d of %d in chains", linked, s.used)
	}
	for i := range s.used {
		if s.at[s.heap[i].slot] != uint16(i) || i > 0 && s.heap[i].weight < s.heap[(i-1)/2].weight {
			t.Fatalf("the heap at %d", i)
		}
	}
}

// Against counters of every key: what Space-Saving promises holds after whatever was added and aged.
func TestBounds(t *testing.T) {
	type id struct {
		part uint16
		key  string
	}
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 5))
		var s sketch
		exact, total := map[id]float64{}, 0.0
		keys := 1 + r.IntN(2000)
		for range 30 {
			for range r.IntN(1000) {
				k := id{uint16(r.IntN(2)), fmt.Sprint(r.IntN(1 + r.IntN(keys)))}
				s.add(k.part, []byte(k.key))
				exact[k]++
				total++
			}
			s.check(t)
			by := math.Pow(0.5, float64(r.IntN(12)))
			s.shrink(by)
			s.check(t)
			total *= by
			for k := range exact {
				exact[k] *= by
			}
		}
		slack := 30 * forgotten // what was forgotten, each time
		followed := map[id]bool{}
		for i := range s.used {
			c := &s.slots[i]
			k := id{c.part, string(c.key[:c.size])}
			followed[k] = true
			if want, most := exact[k], s.heap[s.at[i]].weight; most < want-slack || s.sure(i) > want+1e-6 {
				t.Fatalf("seed %d: %v is %f, not %f to %f", seed, k, want, s.sure(i), most)
			}
		}
		for k, v := range exact {
			if v > total/counters+slack && !followed[k] {
				t.Fatalf("seed %d: %v of weight %f of %f is not followed", seed, k, v, total)
			}
		}
	}
}

func TestLongKeys(t *testing.T) {
	var s sketch
	s.add(0, bytes.Repeat([]byte("x"), 250))
	s.add(0, bytes.Repeat([]byte("x"), 251))
	s.add(0, nil)
	if got := s.top(9, 1, 1); len(got) != 2 || len(got[0].Key) != 0 || len(got[1].Key) != 250 || s.total != 2 {
		t.Errorf("%v", got)
	}
}

func TestNothingIsAllocated(t *testing.T) {
	var f Finder
	key := make([]byte, 8)
	i := uint64(0)
	if n := testing.AllocsPerRun(10_000, func() {
		i += 1e15
		binary.BigEndian.PutUint64(key, i)
		f.Read(0, key)
		f.Write(0, key[:2])
		f.Age(0.01)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What a server spends on each request.
func BenchmarkSample(b *testing.B) {
	z, r := newZipf(100_000, 1), rand.New(rand.NewPCG(1, 2))
	order := make([][]byte, 1<<16)
	for i := range order {
		order[i] = z.keys[z.draw(r)]
	}
	var f Finder
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if f.Sample() {
			f.Read(0, order[i%len(order)])
		}
	}
}

// And on one of those that are looked at.
func BenchmarkRead(b *testing.B) {
	z, r := newZipf(100_000, 1), rand.New(rand.NewPCG(1, 2))
	order := make([][]byte, 1<<16)
	for i := range order {
		order[i] = z.keys[z.draw(r)]
	}
	var f Finder
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		f.Read(0, order[i%len(order)])
	}
}

func BenchmarkAge(b *testing.B) {
	z, r := newZipf(100_000, 1), rand.New(rand.NewPCG(1, 2))
	var f Finder
	for range 1 << 16 {
		f.Read(0, z.keys[z.draw(r)])
	}
	for b.Loop() {
		f.Age(1e-6)
	}
}
