package store

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// pointFS calls a function before every operation on a file system: each is a
// point at which the machine may stop, or the disk may fail.
type pointFS struct {
	vfs.FS
	// mu is held from a change's point to its end, so that at a point the file
	// system stands still.
	mu sync.Mutex
	// point is told what is about to be done; its error is what becomes of it.
	point func(op, name string) error
	// reads: operations that change nothing are points too.
	reads bool
}

// change is an operation that changes the disk.
func (p *pointFS) change(op, name string, do func() error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.point(op, name); err != nil {
		return &os.PathError{Op: op, Path: name, Err: err}
	}
	return do()
}

// read is the point of an operation that changes nothing.
func (p *pointFS) read(op, name string) error {
	if !p.reads {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.point(op, name); err != nil {
		return &os.PathError{Op: op, Path: name, Err: err}
	}
	return nil
}

func (p *pointFS) opened(op, name string, open func() (vfs.File, error)) (f vfs.File, err error) {
	err = p.change(op, name, func() error { f, err = open(); return err })
	if err != nil {
		return nil, err
	}
	return &pointFile{File: f, p: p, name: name}, nil
}

func (p *pointFS) seen(op, name string, open func() (vfs.File, error)) (vfs.File, error) {
	if err := p.read(op, name); err != nil {
		return nil, err
	}
	f, err := open()
	if err != nil {
		return nil, err
	}
	return &pointFile{File: f, p: p, name: name}, nil
}

func (p *pointFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return p.opened("create", name, func() (vfs.File, error) { return p.FS.Create(name, c) })
}

func (p *pointFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return p.opened("open to write", name, func() (vfs.File, error) { return p.FS.OpenReadWrite(name, c, o...) })
}

func (p *pointFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return p.opened("reuse", name, func() (vfs.File, error) { return p.FS.ReuseForWrite(old, name, c) })
}

func (p *pointFS) Open(name string, o ...vfs.OpenOption) (vfs.File, error) {
	return p.seen("open", name, func() (vfs.File, error) { return p.FS.Open(name, o...) })
}

func (p *pointFS) OpenDir(name string) (vfs.File, error) {
	return p.seen("open directory", name, func() (vfs.File, error) { return p.FS.OpenDir(name) })
}

func (p *pointFS) Link(old, name string) error {
	return p.change("link", name, func() error { return p.FS.Link(old, name) })
}

func (p *pointFS) Rename(old, name string) error {
	return p.change("rename", name, func() error { return p.FS.Rename(old, name) })
}

func (p *pointFS) Remove(name string) error {
	return p.change("remove", name, func() error { return p.FS.Remove(name) })
}

func (p *pointFS) RemoveAll(name string) error {
	return p.change("remove all", name, func() error { return p.FS.RemoveAll(name) })
}

func (p *pointFS) MkdirAll(name string, perm os.FileMode) error {
	return p.change("mkdir", name, func() error { return p.FS.MkdirAll(name, perm) })
}

func (p *pointFS) Lock(name string) (l io.Closer, err error) {
	err = p.change("lock", name, func() error { l, err = p.FS.Lock(name); return err })
	return l, err
}

func (p *pointFS) List(name string) ([]string, error) {
	if err := p.read("list", name); err != nil {
		return nil, err
	}
	return p.FS.List(name)
}

func (p *pointFS) Stat(name string) (vfs.FileInfo, error) {
	if err := p.read("stat", name); err != nil {
		return nil, err
	}
	return p.FS.Stat(name)
}

func (p *pointFS) Unwrap() vfs.FS { return p.FS }

type pointFile struct {
	vfs.File
	p    *pointFS
	name string
}

// Write that fails leaves half of what it was given.
func (f *pointFile) Write(b []byte) (n int, err error) {
	err = f.p.change("write", f.name, func() error { n, err = f.File.Write(b); return err })
	if errors.Is(err, syscall.EIO) {
		n, _ = f.File.Write(b[:len(b)/2])
	}
	return n, err
}

func (f *pointFile) WriteAt(b []byte, off int64) (n int, err error) {
	err = f.p.change("write", f.name, func() error { n, err = f.File.WriteAt(b, off); return err })
	return n, err
}

func (f *pointFile) Sync() error     { return f.p.change("sync", f.name, f.File.Sync) }
func (f *pointFile) SyncData() error { return f.p.change("sync", f.name, f.File.SyncData) }

func (f *pointFile) SyncTo(length int64) (full bool, err error) {
	err = f.p.change("sync", f.name, func() error { full, err = f.File.SyncTo(length); return err })
	return full, err
}

func (f *pointFile) Read(b []byte) (int, error) {
	if err := f.p.read("read", f.name); err != nil {
		return 0, err
	}
	return f.File.Read(b)
}

func (f *pointFile) ReadAt(b []byte, off int64) (int, error) {
	if err := f.p.read("read", f.name); err != nil {
		return 0, err
	}
	return f.File.ReadAt(b, off)
}
