package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/kumofs/kumofs/internal/clustermap"
)

// Damage is something in a backup that is not as it was written.
type Damage struct {
	File string
	// Partition is -1 where it is about the file as a whole.
	Partition int
	// The damage may be in keys above After and below Before; nil is the partition's beginning or end.
	// Ranged: they mean something.
	Ranged        bool
	After, Before []byte
	Why           string
}

// Error names the file, the partition and the keys.
func (d *Damage) Error() string {
	var b strings.Builder
	b.WriteString(d.File)
	if d.Ranged {
		fmt.Fprintf(&b, ": partition %d", d.Partition)
		switch {
		case d.After != nil && d.Before != nil:
			fmt.Fprintf(&b, ", keys after %q and before %q", d.After, d.Before)
		case d.After != nil:
			fmt.Fprintf(&b, ", keys after %q", d.After)
		case d.Before != nil:
			fmt.Fprintf(&b, ", keys before %q", d.Before)
		default:
			b.WriteString(", any key")
		}
	}
	return b.String() + ": " + d.Why
}

// Reader reads a backup, and those on which it stands. It holds no file.
type Reader struct {
	Dir      string
	Manifest *Manifest
	Base     *Reader // nil: none
	parts    []int   // by partition: of Manifest.Parts, or -1
}

// Open reads the manifests of a backup and of its bases. A backup that is not complete
// is an error.
func Open(dir string) (*Reader, error) {
	m, err := ReadManifest(dir)
	if err != nil {
		return nil, err
	}
	return open(dir, m, map[string]bool{})
}

func open(dir string, m *Manifest, seen map[string]bool) (*Reader, error) {
	if !m.Complete {
		return nil, fmt.Errorf("the backup %s is not complete: %d of %d partitions are there; give the command that made it again, and it goes on", dir, len(m.Parts), m.Partitions)
	}
	if seen[m.ID] {
		return nil, &Damage{File: filepath.Join(dir, ManifestName), Why: "it stands on itself"}
	}
	seen[m.ID] = true
	r := &Reader{Dir: dir, Manifest: m, parts: make([]int, m.Partitions)}
	for i := range m.Parts {
		r.parts[m.Parts[i].Partition] = i
	}
	if m.Base == nil {
		for i := range m.Parts {
			if !m.Parts[i].Whole {
				return nil, &Damage{File: filepath.Join(dir, ManifestName), Why: "it has no base, and not all of its partitions are whole"}
			}
		}
		return r, nil
	}
	path, base, err := findBase(dir, m.Base)
	if err != nil {
		return nil, err
	}
	if base.Partitions != m.Partitions {
		return nil, &Damage{File: filepath.Join(dir, ManifestName), Why: "its base has another number of partitions"}
	}
	r.Base, err = open(path, base, seen)
	return r, err
}

// Chain is the backup and those on which it stands, the newest first.
func (r *Reader) Chain() (list []*Reader) {
	for ; r != nil; r = r.Base {
		list = append(list, r)
	}
	return list
}

// Part is what the manifest says of a partition.
func (r *Reader) Part(part uint16) *Located { return &r.Manifest.Parts[r.parts[part]] }

func (r *Reader) path(p *Located) string {
	return filepath.Join(r.Dir, r.Manifest.Files[p.File].Name)
}

// sectionReader reads a section. Errors are *Damage, or of the disk.
type sectionReader struct {
	r    *Reader
	p    *Located
	path string
	f    *os.File
	hash hash.Hash

	at, end int64 // where the next block is, where the section ends
	buf     []byte
	raw     []byte
	entries decoder
	order   ordered
	after   []byte // the last key that is well; nil: none
	sums    Sums
	said    *Sums // nil: the end has not come
	digest  Digest
	begun   bool
	damaged bool
}

func (r *Reader) section(part uint16) (*sectionReader, error) {
	p := r.Part(part)
	s := &sectionReader{r: r, p: p, path: r.path(p), hash: sha256.New(), at: p.Offset, end: p.Offset + p.Size}
	f, err := os.Open(s.path)
	if err != nil {
		return nil, s.damage(nil, err.Error())
	}
	s.f = f
	return s, nil
}

func (s *sectionReader) close() { _ = s.f.Close() } // it was only read

func (s *sectionReader) damage(before []byte, why string) error {
	s.damaged = true
	return &Damage{File: s.path, Partition: int(s.p.Partition), Ranged: true, After: bytes.Clone(s.after), Before: before, Why: why}
}

// readBlock reads the block at a place into buf.
func (s *sectionReader) readBlock(at int64, buf []byte) ([]byte, error) {
	if s.end-at < blockHeader {
		return buf, fmt.Errorf("%w: the section ends within its header", errBlock)
	}
	buf = append(buf[:0], make([]byte, blockHeader)...)
	if _, err := s.f.ReadAt(buf, at); err != nil {
		return buf, unexpected(err)
	}
	n, err := blockLength(buf)
	if err == nil && int64(n) > s.end-at-blockHeader {
		err = fmt.Errorf("%w: it says that it has %d bytes", errBlock, n)
	}
	if err != nil {
		return buf, err
	}
	buf = append(buf, make([]byte, n)...)
	_, err = s.f.ReadAt(buf[blockHeader:], at+blockHeader)
	return buf, unexpected(err)
}

// next gives the next entry; io.EOF at the end of the section, when everything about it
// is as the manifest says. After a *Damage next may go on behind what is damaged, if that can be told;
// else it is io.EOF.
func (s *sectionReader) next(e *Entry) error {
	for {
		if len(s.entries.b) > 0 {
			err := s.entries.entry(e)
			if err == nil {
				err = s.check(e)
			}
			if err == nil {
				return nil
			}
			s.entries.b = nil
			return s.skip(err, s.at)
		}
		if s.at >= s.end {
			return s.finish()
		}
		if err := s.block(); err != nil {
			return err
		}
	}
}

// block takes the next block.
func (s *sectionReader) block() error {
	b, err := s.readBlock(s.at, s.buf)
	s.buf = b
	if err != nil {
		return s.skip(err, s.end)
	}
	at := s.at
	s.at += int64(len(b))
	kind, payload, err := openBlock(b, s.raw)
	if err != nil {
		return s.skip(err, s.at)
	}
	if b[2] == 1 {
		s.raw = payload
	}
	_, _ = s.hash.Write(b) // never fails
	switch {
	case at == s.p.Offset && kind == BlockBegin:
		sec, err := DecodeSection(payload)
		if err == nil && (sec.Partition != s.p.Partition || sec.Version != s.p.Version || sec.Whole != s.p.Whole) {
			err = fmt.Errorf("it begins as partition %d of version %d", sec.Partition, sec.Version)
		}
		s.begun = true
		if err != nil {
			return s.skip(err, s.at)
		}
	case kind == BlockEntries && (s.begun || s.damaged) && s.said == nil:
		s.entries = decoder{b: payload}
	case kind == BlockEnd && s.at == s.end:
		said, err := DecodeSums(payload)
		if err != nil {
			return s.skip(err, s.at)
		}
		s.said = &said
	default:
		return s.skip(fmt.Errorf("a block of kind %d is where it cannot be", kind), s.at)
	}
	return nil
}

// skip makes a Damage of err and goes to the next block that is well, which is at the place
// next, if anywhere.
func (s *sectionReader) skip(err error, next int64) error {
	s.at = s.end
	var before []byte
	if next < s.end {
		if b, rerr := s.readBlock(next, nil); rerr == nil {
			if kind, payload, oerr := openBlock(b, nil); oerr == nil {
				s.at = next
				before = firstKey(kind, payload)
			}
		}
	}
	return s.damage(before, err.Error())
}

// firstKey is the first key of a block that has one.
func firstKey(kind BlockKind, payload []byte) []byte {
	if kind != BlockEntries {
		return nil
	}
	d := decoder{b: payload}
	for len(d.b) > 0 {
		var e Entry
		if d.entry(&e) != nil {
			return nil
		}
		if e.Kind != Part {
			return bytes.Clone(e.Key)
		}
	}
	return nil
}

// check checks an entry beside those before it.
func (s *sectionReader) check(e *Entry) error {
	if s.damaged { // whether values are whole is not asked any more
		s.order.parts = 0
		if e.Kind == Part {
			return nil
		}
	}
	if err := s.order.next(e); err != nil {
		return err
	}
	switch e.Kind {
	case Part:
		return nil
	case Range, Same:
		return fmt.Errorf("%w: an entry of kind %d", errEntry, e.Kind)
	case Deleted:
		if s.p.Whole {
			return fmt.Errorf("%w: key %q is deleted, in a whole partition", errEntry, e.Key)
		}
	default:
		if e.Version == 0 || e.Version > s.p.Version {
			return fmt.Errorf("%w: key %q has version %d, and the partition %d", errEntry, e.Key, e.Version, s.p.Version)
		}
		s.digest.Add(e.Key, e.Version)
	}
	if part := clustermap.PartitionOf(e.Key, s.r.Manifest.Partitions); part != s.p.Partition {
		return fmt.Errorf("%w: key %q is of partition %d", errEntry, e.Key, part)
	}
	s.sums.count(e)
	s.after = append(s.after[:0], e.Key...)
	return nil
}

// finish is at the end of the section.
func (s *sectionReader) finish() error {
	if s.damaged {
		return io.EOF // which was told
	}
	p := s.p
	s.after = nil
	pairs, digest := s.digest.Sum()
	switch {
	case s.order.parts > 0:
		return s.damage(nil, fmt.Sprintf("the last value lacks %d bytes", s.order.parts))
	case s.said == nil:
		return s.damage(nil, "it has no end")
	case hex.EncodeToString(s.hash.Sum(nil)) != p.SHA256:
		return s.damage(nil, "its checksum is not the one in the manifest")
	case s.sums.Stored != s.said.Stored || s.sums.Deleted != s.said.Deleted || s.sums.Bytes != s.said.Bytes,
		p.Stored != s.said.Stored || p.Deleted != s.said.Deleted || p.Bytes != s.said.Bytes,
		p.Pairs != s.said.Pairs || p.Digest != digestText(s.said.Digest),
		p.Whole && (pairs != s.said.Pairs || digest != s.said.Digest):
		return s.damage(nil, fmt.Sprintf("it has %d pairs, %d deletions and %d bytes, and its end says %+v, the manifest %d pairs in all, digest %s",
			s.sums.Stored, s.sums.Deleted, s.sums.Bytes, *s.said, p.Pairs, p.Digest))
	}
	return io.EOF
}

// Pairs reads the pairs of a partition, from this backup and those on which it stands:
// of each key the newest that any of them has.
type Pairs struct {
	heads  []*head // the newest backup first
	last   *Located
	path   string
	cur    *head // whose Large is given out
	left   uint32
	digest Digest
	err    error
}

// head is the next key of a section.
type head struct {
	s     *sectionReader
	e     Entry
	ended bool
}

// advance goes to the next key, past the rest of a value.
func (h *head) advance() error {
	for {
		err := h.s.next(&h.e)
		if isEnd(err) {
			h.ended = true
			return nil
		}
		if err != nil || h.e.Kind != Part {
			return err
		}
	}
}

// Pairs begins to read a partition. Close it.
func (r *Reader) Pairs(part uint16) (*Pairs, error) {
	p := &Pairs{last: r.Part(part), path: r.path(r.Part(part))}
	for ; r != nil; r = r.Base {
		s, err := r.section(part)
		if err != nil {
			p.Close()
			return nil, err
		}
		h := &head{s: s}
		p.heads = append(p.heads, h)
		if err := h.advance(); err != nil {
			p.Close()
			return nil, err
		}
		if s.p.Whole {
			break
		}
	}
	return p, nil
}

// Close gives it up.
func (p *Pairs) Close() {
	for _, h := range p.heads {
		h.s.close()
	}
}

// Next gives the next Pair or Large, and after a Large its Parts, whose memory is lent until
// the next call. It is io.EOF at the end, when what was given is all that there was in
// the partition. Any other error is a *Damage, or of the disk; then it is over.
func (p *Pairs) Next(e *Entry) error {
	if p.err == nil {
		p.err = p.next(e)
	}
	return p.err
}

func (p *Pairs) next(e *Entry) error {
	for {
		if p.cur != nil && p.left > 0 {
			if err := p.cur.s.next(e); err != nil {
				return err
			}
			if e.Kind != Part || uint32(len(e.Value)) > p.left {
				return p.cur.s.damage(nil, "a value lacks its end")
			}
			p.left -= uint32(len(e.Value))
			return nil
		}
		if p.cur != nil {
			h := p.cur
			p.cur = nil
			if err := h.advance(); err != nil {
				return err
			}
		}
		best := p.least()
		if best == nil {
			return p.finish()
		}
		for _, h := range p.heads { // older ones of the same key
			if h != best && !h.ended && bytes.Equal(h.e.Key, best.e.Key) {
				if err := h.advance(); err != nil {
					return err
				}
			}
		}
		p.cur, p.left = best, 0
		if best.e.Kind == Deleted {
			continue
		}
		if best.e.Kind == Large {
			p.left = best.e.Length
		}
		*e = best.e
		p.digest.Add(e.Key, e.Version)
		return nil
	}
}

// least is the head with the least key, and of several the newest; nil: none is left.
func (p *Pairs) least() (best *head) {
	for _, h := range p.heads {
		if !h.ended && (best == nil || bytes.Compare(h.e.Key, best.e.Key) < 0) {
			best = h
		}
	}
	return best
}

func (p *Pairs) finish() error {
	pairs, digest := p.digest.Sum()
	if pairs != p.last.Pairs || digestText(digest) != p.last.Digest {
		return &Damage{File: p.path, Partition: int(p.last.Partition), Ranged: true,
			Why: fmt.Sprintf("with the backups on which it stands it gives %d pairs of digest %s, and there were %d of %s", pairs, digestText(digest), p.last.Pairs, p.last.Digest)}
	}
	return io.EOF
}

// isEnd tells the end from what went wrong.
func isEnd(err error) bool { return errors.Is(err, io.EOF) }
