package backup

import (
	"strings"
	"testing"
	"time"
)

// TestTwoWriters: only one process writes a backup at a time.
func TestTwoWriters(t *testing.T) {
	dir := t.TempDir() + "/b"
	w, err := Create(dir, Manifest{Cluster: "0000000000000001", Began: time.Now().UTC(), Partitions: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Resume(dir); err == nil || !strings.Contains(err.Error(), "another program is writing it") {
		t.Fatalf("it is gone on with meanwhile: %v", err)
	}
	w.Close()
	if w, err = Resume(dir); err != nil {
		t.Fatal(err)
	}
	w.Close()
}
