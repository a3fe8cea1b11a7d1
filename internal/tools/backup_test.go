package tools

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/backup"
	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
)

// fakeCluster is a manager and a server of two partitions, of which answer writes what the server sends.
func fakeCluster(t *testing.T, answer func(w http.ResponseWriter, part uint16, try int64)) string {
	t.Helper()
	var tries atomic.Int64
	mux := http.NewServeMux()
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	addr := strings.TrimPrefix(s.URL, "http://")
	m := &clustermap.Map{ClusterID: 0xab, Version: 3, Replication: 1, Servers: []clustermap.Server{{ID: 1, Addr: addr, StreamAddr: addr}}}
	for range 2 {
		one := []clustermap.ServerID{1}
		m.Partitions = append(m.Partitions, clustermap.Partition{Epoch: 1, Replicas: one, LastKnown: one, Assigned: one, LastPrimary: 1, Active: true})
	}
	mux.HandleFunc(control.PathMap, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(clustermap.AppendMap(nil, m)) })
	mux.HandleFunc(control.PathBackup, func(w http.ResponseWriter, req *http.Request) {
		part, err := strconv.Atoi(req.URL.Query().Get("partition"))
		if err != nil || req.URL.Query().Get("epoch") != "1" {
			t.Errorf("asked for %s", req.URL)
		}
		answer(w, uint16(part), tries.Add(1))
	})
	return addr
}

// sectionOf is a partition with one pair, as a server sends it.
func sectionOf(part uint16, sums func(*backup.Sums)) []byte {
	var wire []byte
	b := backup.NewBuilder(func(kind backup.BlockKind, payload []byte) error {
		wire = backup.AppendBlock(wire, kind, payload, nil)
		return nil
	})
	var key []byte
	for i := 0; ; i++ {
		if key = fmt.Appendf(nil, "key%d", i); clustermap.PartitionOf(key, 2) == part {
			break
		}
	}
	var d backup.Digest
	d.Add(key, 5)
	err := b.Begin(&backup.Section{Partition: part, Version: 5, Whole: true, Taken: time.Unix(1, 0)})
	if err == nil {
		err = b.Add(&backup.Entry{Kind: backup.Pair, Key: key, Version: 5, Value: []byte("value")})
	}
	b.Sums.Pairs, b.Sums.Digest = d.Sum()
	if sums != nil {
		sums(&b.Sums)
	}
	if err == nil {
		err = b.End()
	}
	if err != nil {
		panic(err)
	}
	return wire
}

// TestBackupSeesFaults: whatever a server sends that is not whole is asked for again, and nothing of it stays.
func TestBackupSeesFaults(t *testing.T) {
	t.Parallel()
	addr := fakeCluster(t, func(w http.ResponseWriter, part uint16, try int64) {
		good := sectionOf(part, nil)
		switch try {
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable)
			_ = json.NewEncoder(w).Encode(control.Error{Error: "not ready"})
		case 2:
			_, _ = w.Write(good[:len(good)-60]) // without its end
		case 3:
			bad := bytes.Clone(good)
			bad[len(bad)-70] ^= 1
			_, _ = w.Write(bad)
		case 4:
			_, _ = w.Write(sectionOf(part, func(s *backup.Sums) { s.Pairs++ }))
		case 5:
			_, _ = w.Write(sectionOf(1-part, nil))
		case 6:
			_, _ = w.Write(binary.BigEndian.AppendUint64(nil, 0))
		default:
			_, _ = w.Write(good)
		}
	})
	dir := filepath.Join(t.TempDir(), "b")
	var out bytes.Buffer
	if err := Kumoctl(t.Context(), []string{addr, "backup", "--to", dir, "-q", "--no-compress", "--rate", "1M"}, &out); err != nil || !strings.Contains(out.String(), "backed up 2 pairs") {
		t.Fatal(err, out.String())
	}
	out.Reset()
	if err := Kumoctl(t.Context(), []string{"verify", dir}, &out); err != nil || !strings.Contains(out.String(), "all is well: 2 pairs in ") {
		t.Error(err, out.String())
	}
	if err := Kumoctl(t.Context(), []string{addr, "backup", "--to", dir, "-q"}, &out); err == nil || !strings.Contains(err.Error(), "there is a backup in") {
		t.Error(err)
	}

	// Damage ends with status 1 and is named.
	path := filepath.Join(dir, "pairs-0001.kfb")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[bytes.Index(b, []byte("value"))] ^= 1
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"verify", dir}, {"verify", dir, "--json"}} {
		out.Reset()
		err := Kumoctl(t.Context(), args, &out)
		var exit *cli.Exit
		if !errors.As(err, &exit) || exit.Code != 1 || !strings.Contains(out.String(), path+": partition ") {
			t.Errorf("%v: %v\n%s", args, err, out.String())
		}
	}
}

// TestBackupOfOldServer: a server that does not know of backups is named at once.
func TestBackupOfOldServer(t *testing.T) {
	t.Parallel()
	addr := fakeCluster(t, func(w http.ResponseWriter, _ uint16, _ int64) {
		http.Error(w, "404 page not found", http.StatusNotFound)
	})
	err := Kumoctl(t.Context(), []string{addr, "backup", "--to", filepath.Join(t.TempDir(), "b"), "-q"}, &bytes.Buffer{})
	if !errors.Is(err, errTooOld) || !strings.Contains(err.Error(), "server "+addr) {
		t.Error(err)
	}
}

func TestProgressLine(t *testing.T) {
	t.Parallel()
	p := newProgress(nil, false, "backup", 1000, 4096)
	p.add(10 << 20)
	for range 96 {
		p.partition()
	}
	got := p.line(p.began.Add(2 * time.Second))
	if want := "backup: 1096 of 4096 partitions, 10 MiB at 5.0 MiB/s, about 312 MiB left, 1m2s to go"; got != want {
		t.Errorf("%q, wanted %q", got, want)
	}
	p.terminal, p.done = true, 4096
	p.say("partition %d: slow", 7)
	if got := p.line(p.began.Add(time.Second)); !strings.HasPrefix(got, "["+strings.Repeat("#", barWidth)+"] backup: 4096 of 4096") || !strings.HasSuffix(got, "/s; partition 7: slow") {
		t.Errorf("%q", got)
	}
	p.end()
}
