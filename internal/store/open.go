package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/kumofs/kumofs/internal/clustermap"
)

const adviceCorrupt = "if other servers hold copies, move it away and start again: the server comes back empty and is filled by them"

// tchMagic begins every Tokyo Cabinet hash file.
const tchMagic = "ToKyO CaBiNeT"

// Open opens the store at path and creates it when nothing is there (not with
// ReadOnly). The error is a sentence that says what to do. It blocks for
// replaying the log: seconds at most.
func Open(path string, o Options) (*Store, error) {
	o.setDefaults()
	path = filepath.Clean(path) // the guard goes by names
	found, err := inspect(o.FS, path)
	if err != nil {
		return nil, err
	}
	if found == nothing {
		if o.ReadOnly {
			return nil, errorf(ErrNotStore, nil, "there is no store at %s", path)
		}
		if err := makeDir(o.FS, path); err != nil {
			return nil, err
		}
	}
	lock, err := lockStore(o.FS, path)
	if err != nil {
		return nil, err
	}
	s, err := openLocked(path, o)
	if err != nil {
		_ = lock.Close()
		return nil, err
	}
	s.lock = lock
	return s, nil
}

// openLocked is Open after the lock is held.
func openLocked(path string, o Options) (*Store, error) {
	id, err := readIdentity(o.FS, path)
	if err != nil {
		return nil, err
	}
	dataDir := o.FS.PathJoin(path, dataName)
	_, err = o.FS.Stat(dataDir)
	hasData := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, ioError(err, "cannot open "+dataDir)
	}
	if id != nil && id.Ready && !hasData {
		return nil, errorf(ErrCorrupt, nil, "%s is gone, though %s says that this store had data; "+adviceCorrupt, dataDir, identityName)
	}
	if id == nil && !hasData && o.ReadOnly {
		return nil, errorf(ErrNotStore, nil, "there is no store at %s", path)
	}

	if !hasData {
		nums, err := segments(o.FS, o.FS.PathJoin(path, walName))
		if err != nil {
			return nil, ioError(err, "cannot open the store "+path)
		}
		if len(nums) > 0 {
			return nil, errorf(ErrCorrupt, nil, "%s is gone, though there is a log of what was written to it; "+adviceCorrupt, dataDir)
		}
	}

	s := &Store{path: path, fs: o.FS, opts: o}
	s.found = Identity{RunID: randomID(), Created: !hasData, FromCheckpoint: hasData && id == nil}
	if id == nil {
		id = &identityFile{Format: storeFormat, ID: hexID(randomID()), Clean: true, Ready: hasData}
		s.found.BackupOf = backupCluster(o.FS, path)
		if !o.ReadOnly {
			if err := writeIdentity(o.FS, path, id); err != nil {
				return nil, err
			}
		}
	}
	s.found.CleanStop, s.found.UncertainTail = id.Clean, id.uncertain(o.BootID)
	s.id = *id
	if err := s.openData(dataDir, hasData && id.Ready, id.ending(o.BootID)); err != nil {
		return nil, err
	}
	if o.ReadOnly {
		return s, nil
	}
	// From here on writes may be lost with the power: say so before the first.
	s.id.Format = storeFormat
	s.id.Ready, s.id.Boot, s.id.Fsync, s.id.Clean = true, o.BootID, o.Fsync, false
	s.id.Uncertain = s.found.UncertainTail
	if err := writeIdentity(o.FS, path, &s.id); err != nil {
		_ = s.closeData()
		return nil, err
	}
	return s, nil
}

// openData opens pebble behind the guard, and replays the log into it.
func (s *Store) openData(dataDir string, mustExist bool, e ending) error {
	logDir := s.fs.PathJoin(s.path, walName)
	s.guard = newGuard(dataDir, logDir, &s.opts)
	cache := pebble.NewCache(s.opts.CacheSize)
	defer cache.Unref()
	gfs := &guardFS{FS: s.fs, g: s.guard}
	po := s.opts.pebbleOptions(gfs, cache)
	po.ErrorIfNotExists = mustExist
	po.Logger = s.pebbleLogger()
	po.EventListener = s.listener()
	db, err := pebble.Open(dataDir, po)
	if err == nil {
		s.db, s.view = db, db
		err = s.openLog(newWAL(s, logDir, gfs), e)
	}
	if ferr := s.guard.err(); ferr != nil {
		err = ferr // the first error says more
	}
	if err == nil {
		s.space = newSpace(s.fs, s.path, &s.opts)
		s.counts = newCounts()
		s.guard.running.Store(true)
		return nil
	}
	if s.db != nil {
		_ = s.closeData() // the first error says more
	}
	switch {
	case strings.Contains(err.Error(), "unknown format major version"):
		return errorf(ErrNewerFormat, err, "%s was written by a newer kumofs: use that version, or an empty path", s.path)
	case pebble.IsCorruptionError(err), errors.Is(err, pebble.ErrDBDoesNotExist), errors.Is(err, fs.ErrNotExist):
		return errorf(ErrCorrupt, err, "the store %s is damaged; "+adviceCorrupt, s.path)
	case isLocked(err):
		return inUse(s.path)
	default:
		return ioError(err, "cannot open the store "+s.path)
	}
}

// openLog replays the log. A store that is only read keeps what is in it in memory.
func (s *Store) openLog(w *wal, e ending) (err error) {
	if s.opts.ReadOnly {
		s.view, err = w.overlay(e)
		return err
	}
	if err = w.recover(e); err == nil {
		err = w.start()
	}
	if w.cur != nil {
		s.wal = w // to be closed
	}
	return err
}

// what inspect found at a path.
type finding int

const (
	nothing finding = iota // absent, or an empty directory
	aStore                 // a store or a checkpoint
)

// inspect looks at a path without changing anything.
func inspect(fsys vfs.FS, path string) (finding, error) {
	st, err := fsys.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nothing, nil
	case err != nil:
		return 0, ioError(err, "cannot open the store "+path)
	case !st.IsDir():
		if isTokyoCabinet(fsys, path) {
			return 0, errorf(ErrTokyoCabinet, nil,
				"cannot use %s as a store: it is a Tokyo Cabinet file of the original kumofs; import it with: kumomergedb NEWSTORE %s", path, path)
		}
		return 0, errorf(ErrNotStore, nil, "cannot use %s as a store: it is a file, and a store is a directory; name a path that does not exist yet", path)
	}
	names, err := fsys.List(path)
	if err != nil {
		return 0, ioError(err, "cannot read the directory "+path)
	}
	found := nothing
	other := ""
	for _, name := range names {
		switch name {
		case identityName, dataName, walName:
			found = aStore
		case lockName, mapName, backupName, scrubName, identityName + ".tmp", mapName + ".tmp", scrubName + ".tmp", "lost+found":
			// Ours, or a fresh file system's.
		default:
			other = name
		}
	}
	if found == nothing && other != "" {
		return 0, errorf(ErrNotStore, nil,
			"cannot use %s as a store: the directory is not empty (it holds %s) and is not a store; name an empty or absent one", path, other)
	}
	return found, nil
}

func isTokyoCabinet(fsys vfs.FS, path string) bool {
	f, err := fsys.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	b := make([]byte, len(tchMagic))
	n, _ := f.ReadAt(b, 0)
	return string(b[:n]) == tchMagic
}

// makeDir makes the store's own directory but not those above: a file system
// that is not mounted must not be mistaken for a new machine.
func makeDir(fsys vfs.FS, path string) error {
	parent := fsys.PathDir(path)
	if _, err := fsys.Stat(parent); errors.Is(err, fs.ErrNotExist) {
		return errorf(ErrNotStore, nil, "cannot create the store %s: there is no directory %s; create it, or mount what belongs there", path, parent)
	}
	err := fsys.MkdirAll(path, 0o755)
	if err == nil {
		err = syncDir(fsys, parent)
	}
	return ioError(err, "cannot create the store "+path)
}

func lockStore(fsys vfs.FS, path string) (closer, error) {
	l, err := fsys.Lock(fsys.PathJoin(path, lockName))
	switch {
	case err == nil:
		return l, nil
	case isLocked(err):
		return nil, inUse(path)
	default:
		return nil, ioError(err, "cannot lock the store "+path)
	}
}

// isLocked knows the errors of vfs.FS.Lock for a lock that somebody holds.
func isLocked(err error) bool {
	return errors.Is(err, syscall.EAGAIN) || strings.Contains(err.Error(), "lock held by current process")
}

func inUse(path string) error {
	return errorf(ErrInUse, nil, "store in use by another process: %s", path)
}

// backupCluster is the cluster that backup.json names, or 0.
func backupCluster(fsys vfs.FS, path string) clustermap.ClusterID {
	var f backupFile
	b, err := readFile(fsys, fsys.PathJoin(path, backupName))
	if err != nil || json.Unmarshal(b, &f) != nil {
		return 0
	}
	return clustermap.ClusterID(f.Cluster)
}

// Describe is one line for the log on what Open found.
func (s *Store) Describe() string {
	id := s.Identity()
	how := "stopped cleanly"
	switch {
	case id.FromCheckpoint:
		how = "restored from a backup, with a fresh identity"
	case id.Created:
		how = "new"
	case id.UncertainTail:
		how = "the machine went down without a clean stop and without --fsync, so the last writes may be missing"
	case !id.CleanStop:
		how = "not stopped cleanly; nothing is lost unless its disk failed"
	}
	cluster := "no cluster"
	if id.ClusterID != 0 {
		cluster = "cluster " + id.ClusterID.String()
	}
	return fmt.Sprintf("store %s: id %s, %s, incarnation %d: %s", s.path, id.ID, cluster, id.Incarnation, how)
}
