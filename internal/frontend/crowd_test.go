package frontend

import "testing"

// Used is what this frontend counts as held by its clients, for tests.
func (f *Frontend) Used() int { return f.used }

// Input is what it counts of input that waits for more.
func (f *Frontend) Input() int { return f.input }

// SetInputLimit sets another bound for that.
func (f *Frontend) SetInputLimit(n int) { f.inputLimit = n }

func TestBoundsFit(t *testing.T) {
	if maxAllBytes < 2*maxHeldBytes || shareBytes > maxOutBytes/2 {
		t.Error("one client must not crowd out all others, and a share is less than the pause of one")
	}
}
