package bench

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseDistribution(t *testing.T) {
	for text, want := range map[string]float64{"uniform": 0, "zipf": 0.99, "zipf:1": 1, "zipf:2.5": 2.5} {
		d, err := ParseDistribution(text)
		if err != nil || d.Exponent != want {
			t.Errorf("%s: %v %v", text, d, err)
		}
		if again, err := ParseDistribution(d.String()); err != nil || again != d {
			t.Errorf("%s: %q is read as %v, %v", text, d, again, err)
		}
	}
	for _, text := range []string{"", "zip", "zipf:", "zipf:0", "zipf:-1", "zipf:11", "zipf:NaN", "uniform:2"} {
		if _, err := ParseDistribution(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

// TestPicker compares how often keys are drawn with the distribution's law.
func TestPicker(t *testing.T) {
	const draws = 400000
	for _, exponent := range []float64{0, 0.5, 0.99, 1, 1.00000001, 1.5, 4} {
		for _, n := range []uint64{1, 2, 10, 1000} {
			p, r := newPicker(Distribution{exponent}, n), rand.New(rand.NewPCG(1, 2))
			counts := make([]float64, n)
			for range draws {
				counts[p.pick(r)]++ // out of range panics
			}
			sum := 0.0
			for k := range n {
				sum += math.Pow(float64(k+1), -exponent)
			}
			for k := range n {
				want := draws * math.Pow(float64(k+1), -exponent) / sum
				if d := math.Abs(counts[k] - want); d > 6*math.Sqrt(want)+1 {
					t.Errorf("exponent %g, %d keys: key %d was drawn %.0f times, not %.0f", exponent, n, k, counts[k], want)
				}
			}
		}
	}
}

func TestKeys(t *testing.T) {
	for _, key := range []uint64{0, 7, 42, 1234567890, maxKeys - 1} {
		name := AppendKey(nil, key)
		if string(name) != fmt.Sprintf("bench:%010d", key) {
			t.Errorf("%d is %q", key, name)
		}
		if back, ok := parseKey(name); !ok || back != key {
			t.Errorf("%q is %d, %v", name, back, ok)
		}
	}
	for _, name := range []string{"", "bench:", "bench:000000001x", "bench:00000000001", "other:0000000001"} {
		if _, ok := parseKey([]byte(name)); ok {
			t.Errorf("%q was taken", name)
		}
	}
}

// TestValues: only what a write made is valid.
func TestValues(t *testing.T) {
	for size := range 70 {
		a, b := AppendValue(nil, 7, size, 1000), AppendValue(nil, 7, size, 1001)
		if len(a) != size || !ValidValue(7, a) || !ValidValue(7, b) {
			t.Fatalf("size %d: a value is not valid", size)
		}
		if size < 8 {
			continue // too short to tell all of it
		}
		if ValidValue(8, a) {
			t.Errorf("size %d: another key's value is valid", size)
		}
		if ValidValue(7, a[:size-1]) || ValidValue(7, append(slices.Clone(a), 0)) {
			t.Errorf("size %d: valid with another length", size)
		}
		for i := range size {
			c := slices.Clone(a)
			c[i] ^= 4
			if ValidValue(7, c) && i < 4 || size > 16 && ValidValue(7, c) {
				t.Errorf("size %d: valid with another byte %d", size, i)
			}
		}
		for cut := 8; cut < size-2; cut++ {
			if ValidValue(7, append(slices.Clone(a[:cut]), b[cut:]...)) {
				t.Errorf("size %d: two writes' parts, cut at %d, are valid", size, cut)
			}
		}
	}
	if ValidValue(7, AppendValue(nil, 8, 4, 1)) {
		t.Error("another key's value of 4 bytes is valid")
	}
}

func newOp(set bool, keys ...uint64) *op { return &op{set: set, keys: keys} }

// read parses an answer that comes in one byte more at a time, like that of a slow
// server, with the next answer's first byte behind it.
func read(p protocol, o *op, answer string) (t tally, err error) {
	all := []byte(answer + "V")
	used := 0
	for end := 0; end <= len(all); end++ {
		for {
			n, done, err := p.parse(all[used:end], o, &t)
			if err != nil {
				return t, err
			}
			used += n
			if done && used != len(answer) {
				return t, fmt.Errorf("done after %d of %d bytes", used, len(answer))
			}
			if done {
				return t, nil
			}
			if n == 0 {
				break
			}
		}
	}
	return t, fmt.Errorf("not done after %q", answer)
}

func TestProtocols(t *testing.T) {
	v := func(key uint64) string { return string(AppendValue(nil, key, 30, uint32(key))) }
	bin := func(opcode byte, status uint16, opaque uint32, extras, key, value string) string {
		b := []byte{0x81, opcode}
		b = binary.BigEndian.AppendUint16(b, uint16(len(key)))
		b = append(b, byte(len(extras)), 0)
		b = binary.BigEndian.AppendUint16(b, status)
		b = binary.BigEndian.AppendUint32(b, uint32(len(extras)+len(key)+len(value)))
		b = binary.BigEndian.AppendUint32(b, opaque)
		return string(append(b, "\x00\x00\x00\x00\x00\x00\x00\x09"+extras+key+value...))
	}
	const flags, k1, k2, k3 = "\x00\x00\x00\x00", "bench:0000000001", "bench:0000000002", "bench:0000000003"
	three := []uint64{1, 2, 3}
	for _, c := range []struct {
		name   string
		p      protocol
		o      *op
		answer string
		want   string // hits misses wrong errors
	}{
		{"text get", text{}, newOp(false, 1), "VALUE " + k1 + " 0 30\r\n" + v(1) + "\r\nEND\r\n", "1 0 0 map[]"},
		{"text miss", text{}, newOp(false, 1), "END\r\n", "0 1 0 map[]"},
		{"text wrong", text{}, newOp(false, 1), "VALUE " + k1 + " 0 30\r\n" + v(2) + "\r\nEND\r\n", "0 0 1 map[]"},
		{"text three", text{}, newOp(false, three...), "VALUE " + k1 + " 0 30\r\n" + v(1) + "\r\nVALUE " + k3 + " 0 30 77\r\n" + v(3) + "\r\nEND\r\n", "2 1 0 map[]"},
		{"text error", text{}, newOp(false, 1), "SERVER_ERROR timeout: x\r\n", "0 0 0 map[SERVER_ERROR timeout: x:1]"},
		{"text set", text{}, newOp(true, 1), "STORED\r\n", "0 0 0 map[]"},
		{"text set error", text{}, newOp(true, 1), "SERVER_ERROR out of memory\r\n", "0 0 0 map[SERVER_ERROR out of memory:1]"},
		{"meta get", meta{}, newOp(false, 1), "VA 30\r\n" + v(1) + "\r\n", "1 0 0 map[]"},
		{"meta miss", meta{}, newOp(false, 1), "EN\r\n", "0 1 0 map[]"},
		{"meta three", meta{}, newOp(false, three...), "VA 30 k" + k1 + "\r\n" + v(1) + "\r\nVA 30 x k" + k3 + "\r\n" + v(2) + "\r\nMN\r\n", "1 1 1 map[]"},
		{"meta part failed", meta{}, newOp(false, three...), "SERVER_ERROR x\r\nVA 30 k" + k3 + "\r\n" + v(3) + "\r\nMN\r\n", "1 2 0 map[SERVER_ERROR x:1]"},
		{"meta set", meta{}, newOp(true, 1), "HD\r\n", "0 0 0 map[]"},
		{"meta not set", meta{}, newOp(true, 1), "NS\r\n", "0 0 0 map[NS:1]"},
		{"binary get", binaryProtocol{}, newOp(false, 1), bin(0, 0, 1, flags, "", v(1)), "1 0 0 map[]"},
		{"binary miss", binaryProtocol{}, newOp(false, 1), bin(0, 1, 1, "", "", "Not found"), "0 1 0 map[]"},
		{"binary three", binaryProtocol{}, newOp(false, three...), bin(13, 0, 2, flags, k2, v(2)) + bin(10, 0, 0, "", "", ""), "1 2 0 map[]"},
		{"binary set", binaryProtocol{}, newOp(true, 1), bin(1, 0, 1, "", "", ""), "0 0 0 map[]"},
		{"binary error", binaryProtocol{}, newOp(true, 1), bin(1, 0x82, 1, "", "", "Out of memory"), "0 0 0 map[status 0x0082: Out of memory:1]"},
		{"redis get", redis{}, newOp(false, 1), "$30\r\n" + v(1) + "\r\n", "1 0 0 map[]"},
		{"redis miss", redis{}, newOp(false, 1), "$-1\r\n", "0 1 0 map[]"},
		{"redis three", redis{}, newOp(false, three...), "*3\r\n$30\r\n" + v(1) + "\r\n$-1\r\n$30\r\n" + v(1) + "\r\n", "1 1 1 map[]"},
		{"redis set", redis{}, newOp(true, 1), "+OK\r\n", "0 0 0 map[]"},
		{"redis error", redis{}, newOp(false, three...), "-LOADING x\r\n", "0 0 0 map[LOADING x:1]"},
	} {
		got, err := read(c.p, c.o, c.answer)
		if s := fmt.Sprint(got.hits, got.misses, got.wrong, got.errors); err != nil || s != c.want {
			t.Errorf("%s: %s, %v; wanted %s", c.name, s, err, c.want)
		}
		if (got.wrong > 0) != (got.firstWrong != "") {
			t.Errorf("%s: says %q of a wrong value", c.name, got.firstWrong)
		}
	}
	for _, c := range []struct {
		p      protocol
		o      *op
		answer string
	}{
		{text{}, newOp(false, 1), "STORED\r\n"},
		{text{}, newOp(true, 1), "END\r\n"},
		{text{}, newOp(false, 1), "VALUE " + k2 + " 0 30\r\n" + v(2) + "\r\nEND\r\n"},
		{text{}, newOp(false, 1), "VALUE " + k1 + " 0 29\r\n" + v(1) + "\r\nEND\r\n"},
		{text{}, newOp(false, 1), "VALUE " + k1 + " 0 -1\r\n"},
		{text{}, newOp(false, 2, 1), "VALUE " + k1 + " 0 30\r\n" + v(1) + "\r\nVALUE " + k2 + " 0 30\r\n" + v(2) + "\r\nEND\r\n"},
		{text{}, newOp(false, 1), strings.Repeat("x", maxLine)},
		{meta{}, newOp(false, 1), "MN\r\n"},
		{meta{}, newOp(false, three...), "VA 30\r\n" + v(1) + "\r\n"},
		{binaryProtocol{}, newOp(false, 1), "ERROR\r\n"},
		{binaryProtocol{}, newOp(false, 1), bin(1, 0, 1, "", "", "")},
		{binaryProtocol{}, newOp(false, 1), bin(0, 0, 2, flags, "", v(1))},
		{redis{}, newOp(false, 1), "+OK\r\n"},
		{redis{}, newOp(false, three...), "*2\r\n$-1\r\n$-1\r\n"},
		{redis{}, newOp(true, 1), "\r\n"},
	} {
		if _, err := read(c.p, c.o, c.answer); err == nil || strings.HasPrefix(err.Error(), "not done") {
			t.Errorf("%T took %q: %v", c.p, c.answer, err)
		}
	}
}

func TestRequests(t *testing.T) {
	v := string(AppendValue(nil, 1, 9, 5))
	for _, c := range []struct {
		p              protocol
		get, many, set string
	}{
		{text{}, "get bench:0000000001\r\n", "get bench:0000000001 bench:0000000002\r\n", "set bench:0000000001 0 0 9\r\n" + v + "\r\n"},
		{meta{}, "mg bench:0000000001 v\r\n", "mg bench:0000000001 k v q\r\nmg bench:0000000002 k v q\r\nmn\r\n", "ms bench:0000000001 9\r\n" + v + "\r\n"},
		{redis{}, "*2\r\n$3\r\nGET\r\n$16\r\nbench:0000000001\r\n", "*3\r\n$4\r\nMGET\r\n$16\r\nbench:0000000001\r\n$16\r\nbench:0000000002\r\n",
			"*3\r\n$3\r\nSET\r\n$16\r\nbench:0000000001\r\n$9\r\n" + v + "\r\n"},
	} {
		for _, r := range [][2]string{
			{string(c.p.appendGet(nil, []uint64{1})), c.get},
			{string(c.p.appendGet(nil, []uint64{1, 2})), c.many},
			{string(c.p.appendSet(nil, 1, 9, 5)), c.set},
		} {
			if r[0] != r[1] {
				t.Errorf("%T: %q, wanted %q", c.p, r[0], r[1])
			}
		}
	}
	b := binaryProtocol{}.appendSet(nil, 1, 9, 5)
	if len(b) != 24+8+16+9 || b[1] != opSet || binary.BigEndian.Uint32(b[8:]) != 33 || !bytes.HasSuffix(b, []byte(v)) {
		t.Errorf("binary set: %q", b)
	}
}

// TestNoAllocation: an operation costs no memory, whatever the protocol.
func TestNoAllocation(t *testing.T) {
	keys := []uint64{1}
	for _, name := range Protocols {
		p, err := protocolOf(name)
		if err != nil {
			t.Fatal(err)
		}
		v := AppendValue(nil, 1, 100, 3)
		answer := map[string]string{
			"text": "VALUE bench:0000000001 0 100\r\n" + string(v) + "\r\nEND\r\n", "meta": "VA 100\r\n" + string(v) + "\r\n",
			"binary": "\x81\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x68\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" + string(v),
			"redis":  "$100\r\n" + string(v) + "\r\n",
		}[name]
		in := []byte(answer)
		o, ta, r, out := newOp(false, keys...), tally{}, newRecord(), make([]byte, 0, 1000)
		got := testing.AllocsPerRun(100, func() {
			out = p.appendSet(p.appendGet(out[:0], keys), 1, 100, 3)
			o.next, o.begun = 0, false
			for b := in; len(b) > 0; {
				n, _, err := p.parse(b, o, &ta)
				if err != nil || n == 0 {
					t.Fatalf("%s: %d, %v", name, n, err)
				}
				b = b[n:]
			}
			observe(r.get, 12345)
		})
		if got != 0 || ta.hits == 0 || ta.wrong > 0 {
			t.Errorf("%s: %v allocations, %+v", name, got, ta)
		}
	}
}

func TestErrorsAreBounded(t *testing.T) {
	var ta tally
	for i := range 1000 {
		ta.fail(newOp(true, 1), fmt.Appendf(nil, "error %d", i))
	}
	o := newOp(true, 1)
	ta.fail(o, []byte("error 1"))
	ta.fail(o, []byte("error 1"))
	if len(ta.errors) > maxErrorTexts+1 || ta.errors["error 1"] != 2 || (&Result{Errors: ta.errors}).Failed() != 1001 {
		t.Errorf("%d texts: %v", len(ta.errors), ta.errors)
	}
}

func TestSchedule(t *testing.T) {
	s := schedule{first: 1000, interval: 1e9 / 3}
	for i, want := range []int64{1000, 333334333, 666667667, 1000001000} {
		if got := s.due(int64(i)); got != want {
			t.Errorf("operation %d is due at %d, not %d", i, got, want)
		}
	}
	for _, c := range [][2]int64{{0, 1000}, {999, 1000}, {1000, 333334333}, {333334332, 333334333}, {333334333, 666667667}} {
		if got := s.after(c[0]); got != c[1] {
			t.Errorf("after %d one is due at %d, not %d", c[0], got, c[1])
		}
	}
	// The schedule does not drift.
	if got := (schedule{interval: 1e9 / 7}).due(7 * 3600); got != int64(time.Hour) {
		t.Errorf("after an hour it is %v", time.Duration(got))
	}
	// Interleaved, workers' schedules are one of the whole rate.
	session := &Session{load: Load{Rate: 1000}, workers: make([]*worker, 3)}
	var due []int64
	for i := range 3 {
		p := session.part(3000, 0)(i)
		for j := range p.left {
			due = append(due, p.schedule.due(j))
		}
	}
	slices.Sort(due)
	for i, at := range due {
		if d := at - int64(i)*int64(time.Millisecond); d < -1 || d > 1 {
			t.Fatalf("operation %d of all is due at %d", i, at)
		}
	}
}

func TestLatency(t *testing.T) {
	r, other := newRecord(), newRecord()
	for i := 1; i <= 1000; i++ {
		h := r
		if i%2 == 0 {
			h = other
		}
		observe(h.get, int64(i)*int64(time.Millisecond))
		h.ops++
	}
	observe(r.set, 5)
	observe(r.set, int64(2*time.Hour)) // counted as the longest
	r.ops += 2
	r.add(other)
	s := r.result(2*time.Second, false)
	near := func(got, want float64) {
		t.Helper()
		if math.Abs(got-want) > want/500 {
			t.Errorf("%v, not %v", got, want)
		}
	}
	near(s.Get.P50, 500)
	near(s.Get.P90, 900)
	near(s.Get.P99, 990)
	near(s.Get.P999, 999)
	near(s.Get.Max, 1000)
	near(s.Get.Mean, 500.5)
	near(s.Set.Max, 3600e3)
	if s.Operations != 1002 || s.PerSecond != 501 || s.All.Count != 1002 || s.Get.Count != 1000 || s.Wait != nil {
		t.Errorf("%+v", s)
	}
	if s := newRecord().result(0, true); s.Get != nil || s.Set != nil || s.Wait != nil || s.PerSecond != 0 {
		t.Errorf("of nothing: %+v", s)
	}
}

func TestRatios(t *testing.T) {
	rounds := func(perSecond, cpu []float64) (list []*Result) {
		for i := range perSecond {
			r := &Result{PerSecond: perSecond[i]}
			if cpu != nil {
				r.CPU = &cpu[i]
			}
			list = append(list, r)
		}
		return list
	}
	// The machine is half as fast in the second round: the ratios do not show it.
	base, other := rounds([]float64{100, 50, 100}, []float64{2, 2, 2}), rounds([]float64{80, 40, 90}, []float64{3, 4, 5})
	s, r := Summarize(other), Ratios(other, base)
	if s.PerSecond != (Spread{80, 40, 90}) || r.PerSecond != (Spread{0.8, 0.8, 0.9}) || *r.CPU != (Spread{2, 1.5, 2.5}) {
		t.Errorf("%+v %+v %+v", s, r, r.CPU)
	}
	if r.P99 != (Spread{}) { // nothing to divide by
		t.Errorf("%+v", r.P99)
	}
	if r := Ratios(rounds([]float64{1, 2}, nil), base); r.CPU != nil || r.PerSecond.Max != 0.04 {
		t.Errorf("%+v", r)
	}
	if s := SpreadOf([]float64{4, 1, 3, 2}); *s != (Spread{2.5, 1, 4}) {
		t.Errorf("%+v", s)
	}
}

// TestOrder: over the rounds each system is first, and follows each other one, equally
// often.
func TestOrder(t *testing.T) {
	if got := fmt.Sprint(order(3, 0), order(3, 1), order(3, 2), order(1, 5)); got != "[0 1 2] [2 1 0] [1 2 0] [0]" {
		t.Error(got)
	}
	first, after := map[int]int{}, map[[2]int]int{}
	for round := range 8 {
		turn := order(4, round)
		first[turn[0]]++
		for i, a := range turn {
			for _, b := range turn[i+1:] {
				after[[2]int{a, b}]++
			}
		}
	}
	for i, n := range first {
		if n != 2 {
			t.Errorf("%d is first %d times of 8", i, n)
		}
	}
	for pair, n := range after {
		if n != 4 {
			t.Errorf("%d is before %d in %d of 8 rounds", pair[0], pair[1], n)
		}
	}
}
