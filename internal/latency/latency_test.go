package latency

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/item"
)

// Every duration is in the bucket whose bounds are around it.
func TestBuckets(t *testing.T) {
	below := time.Duration(0)
	for i := range finite {
		b := Bound(i)
		if b <= below {
			t.Fatalf("bucket %d ends at %v, the one before at %v", i, b, below)
		}
		if i >= 1<<subBits && float64(b)/float64(below) > 1.2501 {
			t.Errorf("bucket %d is wide: %v to %v", i, below, b)
		}
		for _, d := range []time.Duration{below + 1, (below + b) / 2, b} {
			if d > below && bucket(d) != i {
				t.Errorf("%v is in bucket %d, not %d", d, bucket(d), i)
			}
		}
		below = b
	}
	if below != 1<<26*time.Microsecond {
		t.Errorf("the last bound is %v", below)
	}
	for d, want := range map[time.Duration]int{-time.Second: 0, 0: 0, 1: 0, below + 1: finite, time.Hour: finite, 1<<63 - 1: finite} {
		if bucket(d) != want {
			t.Errorf("%v is in bucket %d, not %d", d, bucket(d), want)
		}
	}
}

// Quantiles are those of the durations themselves, up to a quarter higher.
func TestQuantile(t *testing.T) {
	var h Histogram
	if h.Quantile(0.5) != 0 || h.Count() != 0 {
		t.Error("an empty histogram has a quantile")
	}
	r := rand.New(rand.NewPCG(1, 2))
	var all []time.Duration
	sum := time.Duration(0)
	for range 10_000 {
		d := time.Duration(r.ExpFloat64() * float64(3*time.Millisecond))
		all, sum = append(all, d), sum+d
		h.Add(d, 1)
	}
	slices.Sort(all)
	for _, q := range []float64{0, 0.5, 0.9, 0.99, 0.999, 1} {
		exact := all[max(0, int(q*10_000+0.999999)-1)]
		if got := h.Quantile(q); got < exact || got > exact*5/4+time.Microsecond {
			t.Errorf("quantile %v is %v, not %v", q, got, exact)
		}
	}
	if h.Count() != 10_000 || h.Sum() != sum {
		t.Errorf("%d that took %v", h.Count(), h.Sum())
	}
	h = Histogram{}
	h.Add(2*time.Minute, 3)
	if h.Quantile(0.5) != Bound(finite-1) || h.Bucket(Buckets-1) != 3 {
		t.Errorf("beyond the range: %v", h.Quantile(0.5))
	}
}

func TestMerge(t *testing.T) {
	var a, b Histogram
	a.Add(time.Millisecond, 2)
	b.Add(time.Second, 5)
	a.Merge(&b)
	if a.Count() != 7 || a.Sum() != 5*time.Second+2*time.Millisecond || a.Bucket(bucket(time.Second)) != 5 {
		t.Errorf("%d that took %v", a.Count(), a.Sum())
	}
}

// Recent has all of the last 5 s, and nothing that is older than 15 s, however seldom something
// is added or asked.
func TestWindow(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		var w Window
		var times []int64
		now := r.Int64N(int64(time.Hour))
		for range 60 {
			now += int64(r.ExpFloat64() * float64(time.Second) * []float64{0.1, 1, 4, 20}[r.IntN(4)])
			if r.IntN(3) > 0 {
				w.Add(now, time.Millisecond, 1)
				times = append(times, now)
				continue
			}
			least, most := uint64(0), uint64(0)
			for _, at := range times {
				if now-at < int64(WindowStep) {
					least++
				}
				if now-at <= 3*int64(WindowStep) {
					most++
				}
			}
			h := w.Recent(now)
			if n := h.Count(); n < least || n > most {
				t.Fatalf("at %v: %d, not within %d to %d of %v", time.Duration(now), n, least, most, times)
			}
		}
		if w.All().Count() != uint64(len(times)) {
			t.Fatalf("%d in all, not %d", w.All().Count(), len(times))
		}
	}
}

func TestKinds(t *testing.T) {
	for op, want := range map[item.Op]string{item.OpGet: "get", item.OpMetaGet: "get", item.OpCAS: "set", item.OpPrepend: "set", item.OpDelete: "delete",
		item.OpGetAndTouch: "touch", item.OpDecr: "incr", item.OpFlush: "other", item.OpCollect: "other"} {
		if got := KindOf(op).String(); got != want {
			t.Errorf("op %d is of kind %s, not %s", op, got, want)
		}
	}
}

func TestSummary(t *testing.T) {
	var a, b Windows
	a[Get].Add(1, 90*time.Microsecond, 99)
	b[Get].Add(1, 9*time.Millisecond, 1)
	s := a.Summary(2)
	s.Merge(b.Summary(2))
	v := map[string]any{}
	s.AddValues(v)
	if v["get_p50_us"] != int64(96) || v["get_p99_us"] != int64(96) || v["set_p50_us"] != int64(0) || v["set_p99_us"] != int64(0) || len(v) != 4 {
		t.Errorf("%v", v)
	}
	if s.All[Get].Count() != 100 || s.Recent[Get].Quantile(1) < 9*time.Millisecond {
		t.Errorf("%d", s.All[Get].Count())
	}
	if later := a.Summary(int64(time.Minute)); later.Recent[Get].Count() != 0 || later.All[Get].Count() != 99 {
		t.Errorf("after a minute %d", later.Recent[Get].Count())
	}
}

func BenchmarkAdd(b *testing.B) {
	var w Window
	for i := 0; b.Loop(); i++ {
		w.Add(int64(i)*1000, time.Duration(i&0xffff)<<8, 1)
	}
}
