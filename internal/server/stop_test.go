package server

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/loop"
	"github.com/kumofs/kumofs/internal/store"
	"github.com/kumofs/kumofs/internal/wire"
)

// A server that is stopped while a tool has it read its whole store ends soon, and
// cleanly: it waits for who reads, and who reads gives up.
func TestStopDuringScan(t *testing.T) {
	for _, query := range []string{"key=checksum", "key=items", "key=pairs&partition=1"} {
		t.Run(query, func(t *testing.T) {
			t.Parallel()
			var pause atomic.Int64 // of each read
			reads := make(chan struct{})
			opt := store.Options{Logger: storeLog{slog.New(slog.DiscardHandler)}, FS: errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
				if d := pause.Load(); d > 0 && op.Kind == errorfs.OpFileReadAt && strings.HasSuffix(op.Path, ".sst") {
					select {
					case reads <- struct{}{}:
					default:
					}
					time.Sleep(time.Duration(d))
				}
				return nil
			}))}
			s, err := store.Open("/s", opt)
			if err != nil {
				t.Fatal(err)
			}
			b := s.NewBatch()
			value := make([]byte, 10_000)
			rnd := rand.NewChaCha8([32]byte{})
			for i := range 2000 {
				_, _ = rnd.Read(value) // does not compress
				b.PutItem(1, fmt.Append(nil, "key", i), &item.Item{Version: uint64(i + 1), Value: value})
			}
			b.SetPosition(1, store.Position{Version: 2000})
			if err := s.Commit(b); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil { // what was in the log is in a table when it is opened again
				t.Fatal(err)
			}

			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			ready, ended := make(chan string, 1), make(chan error, 1)
			go func() {
				ended <- Run(ctx, Config{
					Listen: "127.0.0.1:0", Store: "/s", Managers: []string{"127.0.0.1:1"}, CacheSize: 1 << 20,
					Logger: slog.New(slog.DiscardHandler), Ready: func(addr string) { ready <- addr }, options: opt,
				})
			}()
			var addr string
			select {
			case addr = <-ready:
			case err := <-ended:
				t.Fatal(err)
			}
			pause.Store(int64(5 * time.Millisecond))
			go func() {
				if resp, err := http.Get("http://" + addr + control.PathStat + "?" + query); err == nil {
					resp.Body.Close()
				}
			}()
			for range 50 { // what pebble itself reads at the start is over
				<-reads
			}
			pause.Store(int64(3 * time.Second)) // longer than the stop waits for answers
			<-reads
			stop()
			select {
			case err := <-ended:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("it does not end")
			}
			pause.Store(0)
			if s, err = store.Open("/s", opt); err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if !s.Identity().CleanStop {
				t.Error("the store was not stopped cleanly")
			}
		})
	}
}

// lateLoop goes on for a moment when it is to stop, as loops may.
type lateLoop struct{ loop.Loop }

func (l lateLoop) Run(ctx context.Context) error {
	late, end := context.WithTimeout(context.WithoutCancel(ctx), 100*time.Millisecond)
	defer end()
	return l.Loop.Run(late)
}

// A server that cannot open its store says why, whoever dials it meanwhile.
func TestConnectionsWithoutAStore(t *testing.T) {
	opt := store.Options{FS: vfs.NewMem()}
	s, err := store.Open("/s", opt)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l, err := loop.New()
	if err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	free.Close()
	ended := make(chan error, 1)
	go func() {
		ended <- Run(t.Context(), Config{Listen: addr, Store: "/s", Managers: []string{"127.0.0.1:1"}, CacheSize: 1 << 20,
			Logger: slog.New(slog.DiscardHandler), Loop: lateLoop{l}, options: opt})
	}()
	for {
		select {
		case err := <-ended:
			if err == nil {
				t.Error("no error")
			}
			return
		default:
		}
		if c, err := net.Dial("tcp", addr); err == nil {
			defer c.Close()
			_, _ = c.Write([]byte(wire.Magic))
		}
		time.Sleep(5 * time.Millisecond)
	}
}
