package store

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const killEnv = "KUMO_STORE_KILL_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(killEnv); path != "" {
		killChild(path)
		return
	}
	os.Exit(m.Run())
}

// killChild commits on several goroutines and says each acknowledged key on
// stdout, until it is killed.
func killChild(path string) {
	s, err := Open(path, Options{MemTableSize: 1 << 20})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	inc, err := s.StartIncarnation()
	if err != nil {
		fmt.Println("error", err)
		return
	}
	var mu sync.Mutex
	for w := range 8 {
		go func() {
			b := s.NewBatch()
			for n := uint64(1); ; n++ {
				b.Reset()
				key := fmt.Sprintf("%d-%d-%d", inc, w, n)
				b.PutItem(uint16(w), []byte(key), testItem(n, key+strings.Repeat("v", 200)))
				b.SetPosition(uint16(w), Position{Version: inc<<40 | n})
				if err := s.Commit(b); err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
				mu.Lock()
				os.Stdout.WriteString(key + "\n")
				mu.Unlock()
			}
		}()
	}
	select {}
}

// A process killed with -9, five times over the same store: whatever it
// acknowledged is there, and the incarnation never comes twice.
func TestKill9(t *testing.T) {
	path := t.TempDir() + "/s"
	var acked []string
	for round := 1; round <= 5; round++ {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), killEnv+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// A child that never says anything is ended all the same; one that does is
		// given a while from its first word, however slow the machine.
		hung := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
		before := len(acked)
		for sc := bufio.NewScanner(out); sc.Scan(); {
			if strings.HasPrefix(sc.Text(), "error") {
				t.Fatal(sc.Text())
			}
			if len(acked) == before {
				time.AfterFunc(time.Duration(100+50*round)*time.Millisecond, func() { _ = cmd.Process.Kill() })
			}
			acked = append(acked, sc.Text())
		}
		hung.Stop()
		_ = cmd.Wait()
		if len(acked) == before {
			t.Fatal("the child acknowledged nothing: the test tests nothing")
		}
		// The last line may be cut short by the kill; then it is not a key in full.
		last := acked[len(acked)-1]
		s := mustOpen(t, path, Options{})
		if id := s.Identity(); id.CleanStop || id.UncertainTail || id.Incarnation != uint64(round) {
			t.Fatalf("round %d: %+v", round, id)
		}
		for _, key := range acked {
			part, _ := strconv.Atoi(strings.Split(key, "-")[1])
			if _, found, err := s.Get(uint16(part), []byte(key), nil); err != nil || !found && key != last {
				t.Fatalf("round %d: acknowledged %s: found %v, %v", round, key, found, err)
			}
		}
		mustClose(t, s)
	}
	t.Logf("%d acknowledged writes survived", len(acked))
}
