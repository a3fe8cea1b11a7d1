package backup

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// A file begins with fileMagic, the backup's ID (16 bytes), and xxh64 of both.
const (
	fileMagic  = "kumofsBK"
	fileHeader = 32
	// FileSuffix ends the names of a backup's files of pairs.
	FileSuffix = ".kfb"
	// MaxFile is when a file is ended and another begun, in bytes; a section is never divided.
	MaxFile = 1 << 30
)

func fileBegin(id string) []byte {
	b := []byte(fileMagic)
	raw, _ := hex.DecodeString(id) // of a manifest, which may say anything
	b = append(b, append(raw, make([]byte, 16)...)[:16]...)
	return binary.LittleEndian.AppendUint64(b, xxhash.Sum64(b))
}

// Writer writes a backup. Its methods may be called from any goroutine.
type Writer struct {
	dir  string
	lock *os.File // held while this Writer is used

	mu   sync.Mutex
	m    *Manifest
	done []bool
	segs []*Segment
}

// Create begins a backup in dir, which must not exist or be empty; m says what it is of.
func Create(dir string, m Manifest) (*Writer, error) {
	list, err := os.ReadDir(dir)
	list = slices.DeleteFunc(list, func(e fs.DirEntry) bool { return e.Name() == lockName })
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, err
		}
		if err := syncDir(filepath.Dir(filepath.Clean(dir))); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	case len(list) > 0:
		return nil, fmt.Errorf("cannot make a backup in %s: the directory is not empty", dir)
	}
	held, err := lock(dir)
	if err != nil {
		return nil, err
	}
	m.Format, m.ID, m.Complete, m.Files, m.Parts = Format, newID(), false, []File{}, []Located{}
	w := &Writer{dir: dir, lock: held, m: &m, done: make([]bool, m.Partitions)}
	if err := w.Save(); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// lock keeps other processes from writing a backup in dir; it ends with this one.
func lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close() // nothing was written
		return nil, fmt.Errorf("cannot make a backup in %s: another program is writing it", dir)
	}
	return f, nil
}

// lockName is the file that is locked. It goes when the backup is complete.
const lockName = "lock"

// Close lets others write the backup. What Save has not written is not in it.
func (w *Writer) Close() { _ = w.lock.Close() }

// Resume goes on with a backup that was not completed: what its manifest does not
// know of is taken away.
func Resume(dir string) (*Writer, error) {
	if _, err := ReadManifest(dir); err != nil {
		return nil, err // before anything is made there
	}
	held, err := lock(dir)
	if err != nil {
		return nil, err
	}
	w, err := resume(dir)
	if err != nil {
		_ = held.Close() // nothing was written
		return nil, err
	}
	w.lock = held
	return w, nil
}

func resume(dir string) (*Writer, error) {
	m, err := ReadManifest(dir)
	if err != nil {
		return nil, err
	}
	if m.Complete {
		return nil, fmt.Errorf("cannot make a backup in %s: there is a complete one", dir)
	}
	w := &Writer{dir: dir, m: m, done: make([]bool, m.Partitions)}
	for i := range m.Parts {
		w.done[m.Parts[i].Partition] = true
	}
	known := map[string]bool{}
	for _, f := range m.Files {
		known[f.Name] = true
		path := filepath.Join(dir, f.Name)
		st, err := os.Stat(path)
		switch {
		case err != nil:
			return nil, err
		case st.Size() < f.Size:
			return nil, &Damage{File: path, Why: fmt.Sprintf("it has %d bytes, not %d", st.Size(), f.Size)}
		case st.Size() > f.Size:
			if err := os.Truncate(path, f.Size); err != nil {
				return nil, err
			}
		}
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		if filepath.Ext(e.Name()) == FileSuffix && !known[e.Name()] {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return nil, err
			}
		}
	}
	return w, nil
}

// Manifest is a copy of the manifest as it is now.
func (w *Writer) Manifest() Manifest {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.copy()
}

func (w *Writer) copy() Manifest {
	m := *w.m
	m.Files, m.Parts = slices.Clone(m.Files), slices.Clone(m.Parts)
	return m
}

// Missing lists the partitions that are not there.
func (w *Writer) Missing() (parts []uint16) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, done := range w.done {
		if !done {
			parts = append(parts, uint16(i))
		}
	}
	return parts
}

// Save writes the manifest, after everything that it tells of is on disk.
func (w *Writer) Save() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.segs {
		if s.f != nil && s.unsynced {
			if err := s.f.Sync(); err != nil {
				return err
			}
			s.unsynced = false
		}
	}
	return writeManifest(w.dir, w.m)
}

// Complete ends the backup, when all segments are closed.
func (w *Writer) Complete(now time.Time) error {
	if left := w.Missing(); len(left) > 0 {
		return fmt.Errorf("%d partitions are missing", len(left))
	}
	w.mu.Lock()
	now = now.UTC()
	w.m.Complete, w.m.Ended = true, &now
	slices.SortFunc(w.m.Parts, func(a, b Located) int { return int(a.Partition) - int(b.Partition) })
	w.mu.Unlock()
	if err := w.Save(); err != nil {
		return err
	}
	_ = os.Remove(filepath.Join(w.dir, lockName)) // it does no harm
	w.Close()
	return nil
}

// Segment writes sections, one after the other, into files of its own. It belongs to
// one goroutine; Close it.
type Segment struct {
	w        *Writer
	f        *os.File
	out      *bufio.Writer
	file     int   // of Files
	end      int64 // of the last section
	unsynced bool  // Writer.mu's

	enc     *zstd.Encoder
	builder *Builder
	block   []byte
	at      int64
	sum     hash.Hash
	section Section
	order   ordered
}

// Segment makes one. compress: with zstd.
func (w *Writer) Segment(compress bool) *Segment {
	s := &Segment{w: w, sum: sha256.New()}
	if compress {
		s.enc = NewEncoder()
	}
	s.builder = NewBuilder(s.write)
	w.mu.Lock()
	w.segs = append(w.segs, s)
	w.mu.Unlock()
	return s
}

// open makes the next file.
func (s *Segment) open() error {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	name := fmt.Sprintf("pairs-%04d%s", len(s.w.m.Files)+1, FileSuffix)
	f, err := os.OpenFile(filepath.Join(s.w.dir, name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.Write(fileBegin(s.w.m.ID)); err != nil {
		_ = f.Close() // the first error says more
		return err
	}
	s.f, s.file, s.end, s.unsynced = f, len(s.w.m.Files), fileHeader, true
	s.w.m.Files = append(s.w.m.Files, File{Name: name, Size: fileHeader})
	if s.out == nil {
		s.out = bufio.NewWriterSize(nil, 256<<10)
	}
	return nil
}

func (s *Segment) write(kind BlockKind, payload []byte) error {
	s.block = AppendBlock(s.block[:0], kind, payload, s.enc)
	s.at += int64(len(s.block))
	_, _ = s.sum.Write(s.block) // never fails
	_, err := s.out.Write(s.block)
	return err
}

// Begin begins a section. What is left of one that was not ended is taken away.
func (s *Segment) Begin(section Section) error {
	if s.f != nil && s.end >= MaxFile {
		if err := s.Close(); err != nil {
			return err
		}
	}
	if s.f == nil {
		if err := s.open(); err != nil {
			return err
		}
	} else if err := s.f.Truncate(s.end); err != nil {
		return err
	}
	if _, err := s.f.Seek(s.end, io.SeekStart); err != nil {
		return err
	}
	s.out.Reset(s.f)
	s.at, s.section, s.order = s.end, section, ordered{}
	s.sum.Reset()
	return s.builder.Begin(&section)
}

// Add adds an entry, which is copied: a Pair, Large, Part or Deleted, in order.
func (s *Segment) Add(e *Entry) error {
	if err := s.order.next(e); err != nil {
		return err
	}
	if e.Version > s.section.Version {
		return fmt.Errorf("%w: key %q has version %d, and the partition %d", errEntry, e.Key, e.Version, s.section.Version)
	}
	return s.builder.Add(e)
}

// End ends the section; pairs and digest are of all of the partition. From then on the
// manifest tells of it.
func (s *Segment) End(pairs int64, digest uint64) error {
	if s.order.parts > 0 {
		return fmt.Errorf("%w: the last value lacks %d bytes", errEntry, s.order.parts)
	}
	s.builder.Sums.Pairs, s.builder.Sums.Digest = pairs, digest
	if err := s.builder.End(); err != nil {
		return err
	}
	if err := s.out.Flush(); err != nil {
		return err
	}
	sums := &s.builder.Sums
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	m := s.w.m
	m.Files[s.file].Size = s.at
	m.Parts = append(m.Parts, Located{
		Partition: s.section.Partition, Version: s.section.Version, Whole: s.section.Whole, Taken: s.section.Taken,
		File: s.file, Offset: s.end, Size: s.at - s.end, SHA256: hex.EncodeToString(s.sum.Sum(nil)),
		Pairs: pairs, Digest: digestText(digest), Stored: sums.Stored, Deleted: sums.Deleted, Bytes: sums.Bytes,
	})
	m.Pairs += pairs
	m.Stored, m.Deleted, m.Bytes = m.Stored+sums.Stored, m.Deleted+sums.Deleted, m.Bytes+sums.Bytes
	s.w.done[s.section.Partition] = true
	s.end, s.unsynced = s.at, true
	return nil
}

func digestText(d uint64) string { return fmt.Sprintf("%016x", d) }

// Close takes away what was not ended, syncs the file and closes it.
func (s *Segment) Close() error {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if s.f == nil {
		return nil
	}
	err := s.f.Truncate(s.end)
	if err == nil {
		err = s.f.Sync()
	}
	if cerr := s.f.Close(); err == nil {
		err = cerr
	}
	s.f = nil
	return err
}
