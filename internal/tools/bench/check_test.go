package bench

import "testing"

func TestCheck(t *testing.T) {
	if err := (&Result{Operations: 1}).Check(); err != nil {
		t.Error(err)
	}
	for _, r := range []*Result{{}, {Operations: 1, Wrong: 1}, {Operations: 1, Misses: 1}, {Operations: 1, Lost: 1}, {Operations: 1, Errors: map[string]int64{"x": 1}}} {
		if r.Check() == nil {
			t.Errorf("%+v passes", r)
		}
	}
}
