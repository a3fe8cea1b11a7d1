package server

import (
	"testing"
	"time"
)

// Copies that are in no hurry rest while clients ask, the longer the less the
// processors have to spare, and not at all without clients or with much to spare.
func TestPacer(t *testing.T) {
	var idle, all uint64
	known := true
	p := pacer{processors: func() (uint64, uint64, bool) { return idle, all, known }}
	now := time.Now()
	served := uint64(0)
	rest := func(operations uint64, spare float64) time.Duration {
		now = now.Add(time.Second)
		served += operations
		all += 200
		idle += uint64(spare * 200)
		return p.rest(now, served)
	}
	const many = 2 * movingLoad
	if d := rest(many, 1); d != movingLongest {
		t.Errorf("rests %v at first", d)
	}
	for rest(many, 0.6) > 0 {
	}
	for range 10 {
		if d := rest(many, 0.5); d != 0 {
			t.Fatalf("rests %v with half of the processors to spare", d)
		}
	}
	last := time.Duration(0)
	for range 10 {
		d := rest(many, 0.05)
		if d < last || d < movingFirst || d > movingLongest {
			t.Fatalf("rests %v after %v, with little to spare", d, last)
		}
		last = d
	}
	if last != movingLongest {
		t.Errorf("rests %v at last, want %v", last, movingLongest)
	}
	if d := rest(many, (spareLow+spareHigh)/2); d != last {
		t.Errorf("rests %v after %v, with as much to spare as there should be", d, last)
	}
	if d := rest(many, 0.9); d >= last {
		t.Errorf("rests %v with much to spare", d)
	}
	now = now.Add(paceEvery / 2) // too soon for another look
	if d := p.rest(now, served); d != p.length {
		t.Errorf("rests %v, want %v", d, p.length)
	}
	if d := rest(1, 0.01); d != 0 {
		t.Errorf("rests %v, and nobody asks", d)
	}
	for range 30 {
		last = rest(many, 0.9)
	}
	if last != 0 {
		t.Errorf("rests %v with much to spare", last)
	}
	now = now.Add(paceForget)
	if d := rest(many*20, 0.9); d != movingLongest {
		t.Errorf("rests %v at the beginning of other moves", d)
	}
	known = false
	if d := rest(many, 0); d != movingLongest {
		t.Errorf("rests %v where nothing is known", d)
	}
}

func TestParseProcessors(t *testing.T) {
	idle, all, ok := parseProcessors([]byte("cpu  10 1 20 300 40 5 6 7 8 9\ncpu0 1 1 1 1\n"))
	if !ok || idle != 340 || all != 389 {
		t.Errorf("%d of %d, %v; want 340 of 389", idle, all, ok)
	}
	for _, bad := range []string{"", "cpu", "cpu 1 2 3 4", "cpu0 1 2 3 4 5 6 7 8", "cpu 1 2 3 -4 5 6 7 8", "cpu a b c d e f g"} {
		if _, _, ok := parseProcessors([]byte(bad)); ok {
			t.Errorf("%q was read", bad)
		}
	}
	if i, a, ok := processors(); ok && (a == 0 || i > a) {
		t.Errorf("%d of %d", i, a)
	}
}
