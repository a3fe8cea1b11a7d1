package store

import (
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// guardFS is the file system that pebble sees: see guard.
type guardFS struct {
	vfs.FS
	g *guard
}

// Unwrap implements vfs.FS.
func (fs *guardFS) Unwrap() vfs.FS { return fs.FS }

// open runs a function that opens a file for writing and wraps what it gives.
func (fs *guardFS) open(name string, op func() (vfs.File, error)) (vfs.File, error) {
	var f vfs.File
	run := func() (err error) { f, err = op(); return err }
	kind := fs.g.kind(fs.FS, name)
	switch kind {
	case foreign:
		if fs.g.failed.Load() != nil {
			return nil, errFenced
		}
		return op()
	case tableFile:
		if err := fs.g.table(run); err != nil {
			return nil, err
		}
	case scrapFile:
		if err := fs.g.scrap(run); err != nil {
			return nil, err
		}
	default:
		if err := fs.g.must(run); err != nil {
			return nil, err
		}
	}
	if f == nil {
		return nullFile{}, nil // the store has failed, or nobody needs the file
	}
	return &guardFile{File: f, g: fs.g, kind: kind}, nil
}

// inOrder is called before a marker file is made or removed. Pebble makes a
// manifest, makes the marker that names it, removes the old marker, and syncs
// the directory once after all three. A file system that does not keep the order
// of names would leave, after a power loss, a marker without its manifest or no
// marker at all; so here each is on disk before the next is done.
func (fs *guardFS) inOrder(name string) error {
	if fs.g.kind(fs.FS, name) == foreign || !strings.HasPrefix(fs.FS.PathBase(name), "marker.") {
		return nil
	}
	return fs.g.mustOnce(func() error { return syncDir(fs.FS, fs.g.dir) })
}

// Create implements vfs.FS.
func (fs *guardFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := fs.inOrder(name); err != nil {
		return nil, err
	}
	return fs.open(name, func() (vfs.File, error) { return fs.FS.Create(name, c) })
}

// OpenReadWrite implements vfs.FS.
func (fs *guardFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return fs.open(name, func() (vfs.File, error) { return fs.FS.OpenReadWrite(name, c, opts...) })
}

// ReuseForWrite implements vfs.FS. It renames first, so a second try after the
// rename succeeded must not insist on the old name.
func (fs *guardFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.open(newname, func() (vfs.File, error) {
		f, err := fs.FS.ReuseForWrite(oldname, newname, c)
		if err == nil || !fs.g.running.Load() || !isNoSpace(err) {
			return f, err
		}
		_ = fs.FS.Remove(oldname) // at most one of the two is there
		return fs.FS.Create(newname, c)
	})
}

// OpenDir implements vfs.FS.
func (fs *guardFS) OpenDir(name string) (vfs.File, error) {
	f, err := fs.FS.OpenDir(name)
	if err != nil || name != fs.g.dir {
		return f, err
	}
	return &guardFile{File: f, g: fs.g, kind: metaFile}, nil
}

// Link implements vfs.FS.
func (fs *guardFS) Link(oldname, newname string) error {
	return fs.change(newname, func() error { return fs.FS.Link(oldname, newname) })
}

// Rename implements vfs.FS.
func (fs *guardFS) Rename(oldname, newname string) error {
	return fs.change(newname, func() error { return fs.FS.Rename(oldname, newname) })
}

// Remove implements vfs.FS. After a failure nothing is removed: pebble goes by
// a state that never reached the disk.
func (fs *guardFS) Remove(name string) error {
	if err := fs.inOrder(name); err != nil {
		return err
	}
	if fs.g.failed.Load() != nil {
		return nil
	}
	return fs.FS.Remove(name)
}

// RemoveAll implements vfs.FS.
func (fs *guardFS) RemoveAll(name string) error {
	if fs.g.failed.Load() != nil {
		return nil
	}
	return fs.FS.RemoveAll(name)
}

// MkdirAll implements vfs.FS.
func (fs *guardFS) MkdirAll(dir string, perm os.FileMode) error {
	if fs.g.failed.Load() != nil {
		return errFenced
	}
	return fs.FS.MkdirAll(dir, perm)
}

func (fs *guardFS) change(name string, op func() error) error {
	switch fs.g.kind(fs.FS, name) {
	case foreign:
		if fs.g.failed.Load() != nil {
			return errFenced
		}
		return op()
	case tableFile:
		return fs.g.table(op)
	default:
		return fs.g.must(op)
	}
}

// Open implements vfs.FS.
func (fs *guardFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.FS.Open(name, opts...)
	if err != nil && fs.g.failed.Load() != nil {
		fs.g.pause(failedPause) // a table that was never written: pebble would try without end
	}
	return f, err
}

// guardFile is a file in the guarded directory, open for writing.
type guardFile struct {
	vfs.File
	g    *guard
	kind fileKind
}

// Write implements vfs.File. What a full disk took of p is not written again.
func (f *guardFile) Write(p []byte) (int, error) {
	written := 0
	op := func() error {
		n, err := f.File.Write(p[written:])
		written += n
		return err
	}
	run := f.g.must
	switch f.kind {
	case tableFile:
		run = f.g.table
	case scrapFile:
		run = f.g.scrap
	}
	if err := run(op); err != nil {
		return written, err
	}
	return len(p), nil
}

// Sync implements vfs.File.
func (f *guardFile) Sync() error { return f.sync(f.File.Sync) }

// SyncData implements vfs.File.
func (f *guardFile) SyncData() error { return f.sync(f.File.SyncData) }

func (f *guardFile) sync(op func() error) error {
	switch {
	case f.kind == logFile && !f.g.fsync, f.kind == scrapFile:
		return nil
	case f.kind == tableFile:
		// It may hold what the log's last records have: those first, for the log must
		// not end before a table does.
		if w := f.g.wal.Load(); w != nil {
			if err := w.sync(); err != nil {
				return err
			}
		}
		return f.g.table(op)
	default:
		return f.g.mustOnce(op)
	}
}

// syncNow syncs a segment of the log really, whatever Options.Fsync says.
func syncNow(f vfs.File) error {
	if g, ok := f.(*guardFile); ok { // else the store has failed
		return g.g.mustOnce(g.File.SyncData)
	}
	return nil
}

// SyncTo implements vfs.File: for the log it only starts the writing out.
func (f *guardFile) SyncTo(length int64) (fullSync bool, err error) {
	if f.kind == logFile && !f.g.fsync || f.kind == scrapFile {
		return false, nil
	}
	op := func() (err error) { fullSync, err = f.File.SyncTo(length); return err }
	if f.kind == tableFile { // it counts when it is synced as a whole
		return fullSync, f.g.table(op)
	}
	err = f.sync(op)
	return fullSync, err
}

// Close implements vfs.File. A log is synced here at the latest: the next log
// and the table made of this one may reach the disk from now on.
func (f *guardFile) Close() error {
	if f.kind != logFile {
		return f.File.Close()
	}
	if !f.g.fsync {
		if err := f.g.mustOnce(f.File.SyncData); err != nil {
			_ = f.File.Close()
			return err
		}
	}
	return f.g.mustOnce(f.File.Close)
}

// nullFile takes everything and keeps nothing: what pebble writes to after the
// store has failed.
type nullFile struct{}

func (nullFile) Close() error                           { return nil }
func (nullFile) Read([]byte) (int, error)               { return 0, io.EOF }
func (nullFile) ReadAt([]byte, int64) (int, error)      { return 0, io.EOF }
func (nullFile) Write(p []byte) (int, error)            { return len(p), nil }
func (nullFile) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (nullFile) Preallocate(int64, int64) error         { return nil }
func (nullFile) Stat() (vfs.FileInfo, error)            { return nullInfo{}, nil }
func (nullFile) Sync() error                            { return nil }
func (nullFile) SyncTo(int64) (bool, error)             { return false, nil }
func (nullFile) SyncData() error                        { return nil }
func (nullFile) Prefetch(int64, int64) error            { return nil }
func (nullFile) Fd() uintptr                            { return vfs.InvalidFd }

type nullInfo struct{}

func (nullInfo) Name() string           { return "" }
func (nullInfo) Size() int64            { return 0 }
func (nullInfo) Mode() fs.FileMode      { return 0 }
func (nullInfo) ModTime() time.Time     { return time.Time{} }
func (nullInfo) IsDir() bool            { return false }
func (nullInfo) Sys() any               { return nil }
func (nullInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }
