package store

import (
	"encoding/json"
	"time"
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
		err = s.checkpointData(fsys.PathJoin(tmp, dataName))
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

// checkpointData copies the tables when they have everything that was committed
// before, and positions that are those of the data: nothing may come between.
func (s *Store) checkpointData(dir string) error {
	if s.wal == nil {
		return ErrReadOnly
	}
	if err := s.flushAll(s.wal.closing); err != nil { // most of it, while commits go on
		return err
	}
	s.wal.applyMu.Lock()
	defer s.wal.applyMu.Unlock()
	err := s.wal.settleLocked(true)
	if err == nil {
		err = s.wal.flush(s.wal.closing)
	}
	if err == nil {
		err = s.db.Checkpoint(dir)
	}
	return err
}

// flushAll puts everything that was committed before into tables. It blocks until
// then, or until limit.
func (s *Store) flushAll(limit <-chan struct{}) error {
	err := s.settle()
	if err == nil {
		err = s.wal.flush(limit)
	}
	return ioError(err, "cannot write tables")
}

func writeBackupFile(s *Store, dir string, f backupFile) error {
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	return writeFileAtomic(s.fs, dir, backupName, append(b, '\n'))
}
