package store

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"strconv"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/kumofs/kumofs/internal/clustermap"
)

// Identity is who a store is and how it was found (R9, R10).
type Identity struct {
	ID clustermap.ServerID
	// ClusterID is the cluster it belongs to; 0 is none yet.
	ClusterID clustermap.ClusterID
	// Incarnation is the number of the last run that StartIncarnation began.
	Incarnation uint64
	// RunID is a random number made by this Open: it tells apart two processes
	// on copies of one disk.
	RunID uint64
	// CleanStop: the last run ended with Close, or there was none.
	CleanStop bool
	// UncertainTail: the machine was booted since a run that ended without Close
	// and ran without Fsync, so the last acknowledged writes may be missing. It
	// stays until ClearUncertainTail.
	UncertainTail bool
	// Created: this Open made the store.
	Created bool
	// FromCheckpoint: the data had no identity, so it was restored from a
	// checkpoint or made by Merge, and was given a fresh identity.
	FromCheckpoint bool
	// BackupOf is the cluster of the checkpoint; 0 when FromCheckpoint is false
	// or the cluster is not known.
	BackupOf clustermap.ClusterID
}

const (
	identityName = "identity.json"
	backupName   = "backup.json"
	mapName      = "map"
	dataName     = "data"
	lockName     = "LOCK"

	// storeFormat is the version of the directory's layout and of the keys. 1 had no
	// directory wal; such a store is taken as it is.
	storeFormat = 2
)

// identityFile is identity.json. IDs are hexadecimal strings, as logs show
// them: JSON numbers of 64 bits do not survive every tool.
type identityFile struct {
	Format      int    `json:"format"`
	ID          hexID  `json:"store"`
	Cluster     hexID  `json:"cluster"`
	Incarnation uint64 `json:"incarnation"`
	// Ready: data/ was created. Without it a missing data/ is a creation cut short.
	Ready bool `json:"ready"`
	// Boot, Fsync and Clean are about the last run; Uncertain outlives runs.
	Boot      string `json:"boot"`
	Fsync     bool   `json:"fsync"`
	Clean     bool   `json:"clean_stop"`
	Uncertain bool   `json:"uncertain_tail"`
}

type hexID uint64

// MarshalText implements encoding.TextMarshaler.
func (h hexID) MarshalText() ([]byte, error) {
	return []byte(clustermap.ServerID(h).String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *hexID) UnmarshalText(b []byte) error {
	v, err := strconv.ParseUint(string(b), 16, 64)
	*h = hexID(v)
	return err
}

// uncertain tells whether a store found like this has an uncertain tail on a
// machine whose boot is called boot. A boot without name is never the same.
func (f *identityFile) uncertain(boot string) bool {
	sameBoot := boot != "" && f.Boot == boot
	return f.Uncertain || f.Ready && !f.Clean && !f.Fsync && !sameBoot
}

// ending is what the store's log may end in.
func (f *identityFile) ending(boot string) ending {
	switch {
	case f.Clean || boot != "" && f.Boot == boot:
		return killed
	case f.Fsync:
		return synced
	}
	return lost
}

// randomID is a random number that is not 0.
func randomID() uint64 {
	for {
		var b [8]byte
		_, _ = rand.Read(b[:]) // never fails (crypto/rand)
		if v := binary.LittleEndian.Uint64(b[:]); v != 0 {
			return v
		}
	}
}

// readIdentity returns nil when there is none.
func readIdentity(fsys vfs.FS, path string) (*identityFile, error) {
	name := fsys.PathJoin(path, identityName)
	b, err := readFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, ioError(err, "cannot read "+name)
	}
	f := &identityFile{}
	if err := json.Unmarshal(b, f); err != nil || f.ID == 0 {
		return nil, errorf(ErrCorrupt, err, "%s is damaged; "+adviceCorrupt, name)
	}
	if f.Format > storeFormat {
		return nil, errorf(ErrNewerFormat, nil,
			"%s was written by a newer kumofs (format %d, this one knows %d): use that version, or an empty path", path, f.Format, storeFormat)
	}
	return f, nil
}

func writeIdentity(fsys vfs.FS, path string, f *identityFile) error {
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	return writeFileAtomic(fsys, path, identityName, append(b, '\n'))
}

// writeFileAtomic replaces dir/name with data, durably: after a crash there is
// the old or the new content.
func writeFileAtomic(fsys vfs.FS, dir, name string, data []byte) error {
	full := fsys.PathJoin(dir, name)
	tmp := full + ".tmp"
	f, err := fsys.Create(tmp, vfs.WriteCategoryUnspecified)
	if err == nil {
		// A copy, because vfs.File.Write may change what it is given.
		_, err = f.Write(append([]byte(nil), data...))
		if err == nil {
			err = f.Sync()
		}
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err == nil {
			err = fsys.Rename(tmp, full)
		}
		if err == nil {
			err = syncDir(fsys, dir)
		}
	}
	return ioError(err, "cannot write "+full)
}

// syncDir makes the names in a directory durable.
func syncDir(fsys vfs.FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}

func readFile(fsys vfs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}
