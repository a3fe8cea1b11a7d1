package load

import "testing"

func TestLargeOnTheWire(t *testing.T) {
	for _, v := range []string{"", "plain", Large(7, 5000), "+a" + Large(12, 1<<20) + "+b", Large(1, 0)} {
		w := onWire(v)
		if got := offWire(w); got != v {
			t.Errorf("%.40q comes back as %.40q", v, got)
		}
		if len(w) > 2000 {
			damaged := []byte(w)
			damaged[len(w)/2] ^= 1
			if got := offWire(string(damaged)); got == v {
				t.Errorf("%.40q: damage is not noticed", v)
			}
			if got := offWire(w[:1500] + w[1501:]); got == v {
				t.Errorf("%.40q: a lost byte is not noticed", v)
			}
		}
	}
}
