package replica

import (
	"testing"
	"time"
)

// R9: a disk that hangs is noticed, a slow one is not; and it is trusted again only
// when commits have been quick for a while.
func TestCommitsThatHang(t *testing.T) {
	const tick = int64(100 * time.Millisecond)
	now := int64(1e12)
	var c Commits
	pass := func(d time.Duration) (hang bool) {
		for end := now + int64(d); now < end; {
			now += tick
			hang = c.Hang(now)
		}
		return hang
	}
	commit := func(took time.Duration) bool {
		c.Began(now)
		pass(took)
		c.Ended(now)
		return c.Hang(now)
	}
	for range 5 {
		if commit(2 * time.Second) {
			t.Fatal("a commit of two seconds is one that hangs")
		}
	}
	c.Began(now)
	if pass(2500*time.Millisecond) || !pass(100*time.Millisecond) {
		t.Fatal("noticed too early or too late")
	}
	if !pass(time.Minute) {
		t.Fatal("given up while it goes on")
	}
	c.Ended(now)
	if !pass(2 * time.Second) {
		t.Error("trusted at once")
	}
	if !commit(time.Second) || !pass(2500*time.Millisecond) {
		t.Error("trusted while commits are slow")
	}
	if commit(0); pass(800 * time.Millisecond) {
		t.Error("not trusted after three seconds")
	}
	// A full disk tries again and again: that is no hanging.
	for range 50 {
		c.Began(now)
		if pass(200 * time.Millisecond) {
			t.Fatal("full is taken for hanging")
		}
	}
	// A read that hangs, while commits do not.
	began, hang := now, false
	for now-began < int64(3*time.Second) {
		commit(100 * time.Millisecond)
		c.Reading(now, began)
		if hang = c.Hang(now); hang != (now-began > int64(HangLimit)) {
			t.Fatalf("a read of %v: %v", time.Duration(now-began), hang)
		}
	}
	if !pass(2900*time.Millisecond) || pass(200*time.Millisecond) {
		t.Error("trusted too early or too late after a read that hung")
	}
}
