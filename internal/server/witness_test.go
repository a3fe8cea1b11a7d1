package server

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A witness that cannot begin when its server starts is there when it can.
func TestWitnessResumesLater(t *testing.T) {
	defer func(d time.Duration) { witnessRetry = d }(witnessRetry)
	witnessRetry = 20 * time.Millisecond
	ctx, stop := context.WithCancel(context.Background())
	n := &node{cfg: Config{Store: filepath.Join(t.TempDir(), "s")}, log: slog.New(slog.DiscardHandler), ctx: ctx, self: 5}
	defer n.wg.Wait()
	defer stop()
	w := newWitness(n, "127.0.0.1:1")
	id, err := w.begin(nil)
	if err != nil {
		t.Fatal(err)
	}
	w.stop()
	<-w.ended
	snapshots := filepath.Join(w.dir, "snapshots")
	if err := os.Rename(snapshots, snapshots+"-away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(snapshots, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w = newWitness(n, "127.0.0.1:1")
	w.resume()
	if w.id() != "" {
		t.Fatal("it runs without its directory")
	}
	if err := os.Rename(snapshots+"-away", snapshots); err == nil {
		t.Fatal("the file was no hindrance")
	}
	if err := os.Remove(snapshots); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); w.id() != id; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it does not come back: %q", w.id())
		}
	}
}
