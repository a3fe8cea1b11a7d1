package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func write(t *testing.T, name, data string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestOpenErrors(t *testing.T) {
	for name, c := range map[string]struct {
		make func(path string)
		o    Options
		want error
		text string
	}{
		"tokyo cabinet": {func(p string) { write(t, p, "ToKyO CaBiNeT\n1.0:911\n") }, Options{}, ErrTokyoCabinet,
			"cannot use PATH as a store: it is a Tokyo Cabinet file of the original kumofs; import it with: kumomergedb NEWSTORE PATH"},
		"file":         {func(p string) { write(t, p, "hello") }, Options{}, ErrNotStore, "it is a file"},
		"other dir":    {func(p string) { write(t, p+"/photo.jpg", "") }, Options{}, ErrNotStore, "holds photo.jpg"},
		"no parent":    {func(p string) { _ = os.Remove(filepath.Dir(p)) }, Options{}, ErrNotStore, "create it, or mount"},
		"read-only":    {func(string) {}, Options{ReadOnly: true}, ErrNotStore, "there is no store at"},
		"bad identity": {func(p string) { write(t, p+"/identity.json", "{") }, Options{}, ErrCorrupt, "move it away"},
		"newer":        {func(p string) { write(t, p+"/identity.json", `{"format": 9, "store": "1", "cluster": "0"}`) }, Options{}, ErrNewerFormat, "use that version"},
		"newer pebble": {func(p string) {
			s := mustOpen(t, p, Options{})
			mustClose(t, s)
			old, _ := filepath.Glob(p + "/data/marker.format-version.*")
			for _, name := range old {
				_ = os.Remove(name)
			}
			write(t, p+"/data/marker.format-version.000999.999", "")
		}, Options{}, ErrNewerFormat, "use that version"},
		"data gone": {func(p string) {
			mustClose(t, mustOpen(t, p, Options{}))
			_ = os.RemoveAll(p + "/data")
		}, Options{}, ErrCorrupt, "is gone"},
		"data emptied": {func(p string) {
			mustClose(t, mustOpen(t, p, Options{}))
			_ = os.RemoveAll(p + "/data")
			_ = os.Mkdir(p+"/data", 0o755)
		}, Options{}, ErrCorrupt, "damaged"},
		"manifest damaged": {func(p string) {
			s := mustOpen(t, p, Options{})
			mustCommit(t, s, func(b *Batch) { b.PutItem(1, []byte("a"), testItem(1, "x")) })
			mustClose(t, s)
			names, _ := filepath.Glob(p + "/data/MANIFEST-*")
			for _, name := range names {
				write(t, name, strings.Repeat("x", 100))
			}
		}, Options{}, ErrCorrupt, "damaged"},
		"in use": {func(p string) { s := mustOpen(t, p, Options{Logger: quiet{}}); t.Cleanup(func() { _ = s.Close() }) }, Options{}, ErrInUse, "store in use by another process: PATH"},
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir() + "/d/s"
			if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			c.make(path)
			before := listing(t, filepath.Dir(path))
			c.o.Logger = quiet{}
			s, err := Open(path, c.o)
			if err == nil {
				_ = s.Close()
				t.Fatal("opened")
			}
			text := strings.ReplaceAll(err.Error(), path, "PATH")
			if !errors.Is(err, c.want) || !strings.Contains(text, c.text) {
				t.Fatalf("%v (want %v, %q)", err, c.want, c.text)
			}
			t.Log(text)
			if errors.Is(err, ErrNotStore) || errors.Is(err, ErrTokyoCabinet) {
				if after := listing(t, filepath.Dir(path)); after != before {
					t.Fatalf("changed %s to %s", before, after)
				}
			}
		})
	}
}

func listing(t *testing.T, dir string) string {
	t.Helper()
	var names []string
	_ = filepath.Walk(dir, func(name string, _ os.FileInfo, _ error) error {
		names = append(names, strings.TrimPrefix(name, dir))
		return nil
	})
	return strings.Join(names, " ")
}

func TestIdentity(t *testing.T) {
	fs := vfs.NewMem()
	open := func(boot string, fsync bool) *Store {
		return mustOpen(t, "/s", Options{FS: fs, BootID: boot, Fsync: fsync})
	}
	// crash leaves the store as kill -9 would.
	crash := func(s *Store) {
		s.guard.fail(errors.New("crash"))
		_ = s.Close()
	}
	quietly := func(s *Store) *Store { s.guard.log = quiet{}; return s }

	s := quietly(open("one", false))
	id := s.Identity().ID
	crash(s)
	s = quietly(open("one", false)) // kill -9
	if got := s.Identity(); got.CleanStop || got.UncertainTail || got.ID != id {
		t.Fatalf("%+v", got)
	}
	if !strings.Contains(s.Describe(), "nothing is lost") {
		t.Fatal(s.Describe())
	}
	crash(s)
	s = quietly(open("two", true)) // power loss without fsync
	if got := s.Identity(); got.CleanStop || !got.UncertainTail {
		t.Fatalf("%+v", got)
	}
	crash(s)
	s = quietly(open("three", true)) // a run with fsync does not settle it
	if got := s.Identity(); !got.UncertainTail {
		t.Fatalf("%+v", got)
	}
	if err := s.ClearUncertainTail(); err != nil {
		t.Fatal(err)
	}
	if n, err := s.StartIncarnation(); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	crash(s)
	s = quietly(open("four", false)) // power loss with fsync
	if got := s.Identity(); got.UncertainTail || got.Incarnation != 1 {
		t.Fatalf("%+v", got)
	}
	mustClose(t, s)
	s = open("five", false)
	if got := s.Identity(); got.UncertainTail || !got.CleanStop {
		t.Fatalf("%+v", got)
	}
	mustClose(t, s)
	// A machine that cannot tell its boots: unclean is uncertain.
	f, err := readIdentity(fs, "/s")
	if err != nil {
		t.Fatal(err)
	}
	f.Clean, f.Boot = false, ""
	if !f.uncertain("") {
		t.Fatal("two boots without a name were taken for one")
	}
}

// A creation that was cut short anywhere is finished by the next Open.
func TestCreationCutShort(t *testing.T) {
	for _, cut := range []string{"dir", "lock", "identity"} {
		path := t.TempDir() + "/s"
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if cut != "dir" {
			write(t, path+"/LOCK", "")
		}
		if cut == "identity" {
			if err := writeIdentity(vfs.Default, path, &identityFile{Format: 1, ID: 7, Clean: true}); err != nil {
				t.Fatal(err)
			}
		}
		s := mustOpen(t, path, Options{})
		if id := s.Identity(); !id.Created || !id.CleanStop || cut == "identity" && id.ID != 7 {
			t.Fatalf("%s: %+v", cut, id)
		}
		mustClose(t, s)
	}
}
