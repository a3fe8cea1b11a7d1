package store

import (
	"encoding/json"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// backupFile is backup.json: where a directory without identity came from.
type backupFile struct {
	Cluster hexID     `json:"cluster"`
	Store   hexID     `json:"store"` // 0 when merged
	Time    time.Time `json:"time"`
	// Partitions is how many partitions there are something of, Items of no use
	// to a restore and therefore not there.
	Partitions int `json:"partitions"`
}

// Checkpoint makes a copy of the store as it is now at dir, which must not
// exist. Table files are linked, so it takes milliseconds on the same file
// system. The copy has no identity: opened, it becomes another store. It is
// durable on return and appears whole or not at all.
func (s *Store) Checkpoint(dir string) error {
	if err := s.usable(); err != nil {
		return err
	}
	fsys := s.fs
	if _, err := fsys.Stat(dir); err == nil {
		return errorf(ErrNotStore, nil, "cannot back up to %s: it exists already", dir)
	}
	parts, err := s.Positions()
	if err != nil {
		return err
	}
	tmp := dir + ".part"
	// A leftover of a backup that was cut short: nobody else uses that name.
	if err := fsys.RemoveAll(tmp); err != nil {
		return ioError(err, "cannot back up to "+dir)
	}
	err = makeDir(fsys, tmp)
	if err == nil {
		err = s.db.Checkpoint(fsys.PathJoin(tmp, dataName), pebble.WithFlushedWAL())
	}
	if err == nil {
		id := s.Identity()
		err = writeBackupFile(s, tmp, backupFile{Cluster: hexID(id.ClusterID), Store: hexID(id.ID), Time: time.Now().UTC(), Partitions: len(parts)})
	}
	if ferr := s.guard.err(); ferr != nil {
		err = ferr // the copy may be of what never reached the disk
	}
	if err == nil {
		err = fsys.Rename(tmp, dir)
	}
	if err == nil {
		err = syncDir(fsys, fsys.PathDir(dir))
	}
	if err != nil {
		_ = fsys.RemoveAll(tmp)
	}
	return ioError(err, "cannot back up to "+dir)
}

func writeBackupFile(s *Store, dir string, f backupFile) error {
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	return writeFileAtomic(s.fs, dir, backupName, append(b, '\n'))
}
