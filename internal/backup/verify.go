package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// Verified is what Verify has read.
type Verified struct {
	// Backups are the manifests of the chain, the oldest first.
	Backups []*Manifest
	Dirs    []string
	// Sections, Pairs, Deleted and Bytes (of files) are of all backups of the chain.
	Sections       int
	Pairs, Deleted int64
	Bytes          int64
	Damages        int
}

// Verify reads all of a backup, and of those on which it stands. found is told of each
// damage; a damaged manifest is the end. progress, if not nil, is told how many of how
// many bytes were read. The error says why not everything could be read, other than for damage.
func Verify(ctx context.Context, dir string, found func(*Damage), progress func(done, of int64)) (v Verified, err error) {
	report := func(d *Damage) {
		v.Damages++
		found(d)
	}
	r, err := Open(dir)
	var d *Damage
	if errors.As(err, &d) {
		report(d)
		return v, nil
	}
	if err != nil {
		return v, err
	}
	chain := r.Chain()
	slices.Reverse(chain)
	total := int64(0)
	for _, r := range chain {
		v.Backups, v.Dirs = append(v.Backups, r.Manifest), append(v.Dirs, r.Dir)
		for _, f := range r.Manifest.Files {
			total += f.Size
		}
	}
	if progress == nil {
		progress = func(int64, int64) {}
	}
	for _, r := range chain {
		if err := v.backup(ctx, r, report, func(done int64) { progress(done, total) }); err != nil {
			return v, err
		}
	}
	if r.Base == nil || v.Damages > 0 {
		return v, nil
	}
	// Each is what it was. Together they must give what there was.
	for part := range r.parts {
		if err := ctx.Err(); err != nil {
			return v, err
		}
		if err := together(r, uint16(part)); errors.As(err, &d) {
			report(d)
		} else if err != nil {
			return v, err
		}
	}
	return v, nil
}

func together(r *Reader, part uint16) error {
	p, err := r.Pairs(part)
	if err != nil {
		return err
	}
	defer p.Close()
	var e Entry
	for err == nil {
		err = p.Next(&e)
	}
	if isEnd(err) {
		return nil
	}
	return err
}

// backup reads one of a chain.
func (v *Verified) backup(ctx context.Context, r *Reader, report func(*Damage), progress func(done int64)) error {
	m := r.Manifest
	whole := func(file int, format string, args ...any) {
		report(&Damage{File: filepath.Join(r.Dir, m.Files[file].Name), Partition: -1, Why: fmt.Sprintf(format, args...)})
	}
	readable := make([]bool, len(m.Files))
	for i, f := range m.Files {
		b, size, err := readBegin(filepath.Join(r.Dir, f.Name))
		switch {
		case err != nil:
			whole(i, "it cannot be read: %v", err)
			continue
		case string(b) != string(fileBegin(m.ID)):
			whole(i, "its header is damaged, or it is of another backup")
		case size > f.Size:
			whole(i, "it has %d bytes, not %d: something was added", size, f.Size)
		case size < f.Size:
			whole(i, "it has %d bytes, not %d: its end is missing", size, f.Size)
		}
		readable[i] = true
		v.Bytes += fileHeader
	}
	parts := slices.Clone(m.Parts)
	slices.SortFunc(parts, func(a, b Located) int {
		if a.File != b.File {
			return a.File - b.File
		}
		if a.Offset < b.Offset {
			return -1
		}
		return 1
	})
	at := make([]int64, len(m.Files))
	for i := range at {
		at[i] = fileHeader
	}
	for i := range parts {
		p := &parts[i]
		if err := ctx.Err(); err != nil {
			return err
		}
		if p.Offset != at[p.File] {
			whole(p.File, "partition %d begins at %d, and what is before it ends at %d", p.Partition, p.Offset, at[p.File])
		}
		at[p.File] = p.Offset + p.Size
		v.Sections++
		v.Bytes += p.Size
		if readable[p.File] {
			if err := v.section(r, p.Partition, report); err != nil {
				return err
			}
		}
		progress(v.Bytes)
	}
	for i, f := range m.Files {
		if at[i] != f.Size {
			whole(i, "%d bytes of it are of no partition", f.Size-at[i])
		}
	}
	return nil
}

// section reads one section.
func (v *Verified) section(r *Reader, part uint16, report func(*Damage)) error {
	s, err := r.section(part)
	var d *Damage
	if errors.As(err, &d) {
		report(d)
		return nil
	}
	defer s.close()
	var e Entry
	for {
		err := s.next(&e)
		switch {
		case errors.As(err, &d):
			report(d)
		case isEnd(err):
			v.Pairs += s.sums.Stored
			v.Deleted += s.sums.Deleted
			return nil
		case err != nil:
			return err
		}
	}
}

// readBegin gives the header of a file, and the file's size.
func readBegin(path string) ([]byte, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	b := make([]byte, fileHeader)
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, 0, unexpected(err)
	}
	return b, st.Size(), nil
}
