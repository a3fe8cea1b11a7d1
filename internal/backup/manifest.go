package backup

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// ManifestName is the manifest's file in a backup.
	ManifestName = "manifest.json"
	// Format is the form of backups that this program writes. It reads no other.
	Format = 1
)

// Manifest is what a backup says of itself.
type Manifest struct {
	// Checksum is "sha256:" and the hash of the file with zeros for the hash's digits.
	Checksum string `json:"checksum"`
	Format   int    `json:"format"`
	// ID is of this backup alone.
	ID string `json:"id"`
	// Kumofs is the version of the program.
	Kumofs string `json:"kumofs"`
	// Cluster is the cluster's ID, Clock the version of its map when the backup began.
	Cluster string `json:"cluster"`
	Clock   uint64 `json:"clock"`
	// Complete: all partitions are there. One that is not can be gone on with.
	Complete bool       `json:"complete"`
	Began    time.Time  `json:"began"`
	Ended    *time.Time `json:"ended,omitempty"`
	// Base is the backup on which this incremental one stands.
	Base *Base `json:"base,omitempty"`
	// Partitions is how many the cluster has.
	Partitions int `json:"partitions"`
	// Pairs is how many there are in the cluster, by all sections; Stored and Deleted how many
	// pairs and deletions this backup has itself, Bytes the size of those pairs' keys and values.
	Pairs   int64     `json:"pairs"`
	Stored  int64     `json:"pairs_stored"`
	Deleted int64     `json:"pairs_deleted"`
	Bytes   int64     `json:"bytes"`
	Files   []File    `json:"files"`
	Parts   []Located `json:"sections"`
}

// Base names another backup.
type Base struct {
	ID       string `json:"id"`
	Checksum string `json:"checksum"`
	// Path leads there from the directory of the one that names it. If it is not there, the
	// directories beside that one are looked through.
	Path string `json:"path"`
}

// File is one of a backup's.
type File struct {
	Name string `json:"name"`
	Size int64  `json:"size"` // bytes
}

// Located is a section and where it is.
type Located struct {
	Partition uint16 `json:"partition"`
	// Version is the partition's position: no pair has a later version. It is a string, as
	// numbers of this size are not safe in every program that reads JSON.
	Version uint64    `json:"version,string"`
	Whole   bool      `json:"whole"`
	Taken   time.Time `json:"taken"`
	File    int       `json:"file"` // of Files, from 0 on
	Offset  int64     `json:"offset"`
	Size    int64     `json:"size"`
	SHA256  string    `json:"sha256"`
	Pairs   int64     `json:"pairs"`
	Digest  string    `json:"digest"` // xxh64 of keys and versions
	Stored  int64     `json:"pairs_stored"`
	Deleted int64     `json:"pairs_deleted"`
	Bytes   int64     `json:"bytes"`
}

// newID makes an ID: 32 hexadecimal digits.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

const (
	sumBefore = "{\n  \"checksum\": \""
	sumKind   = "sha256:"
	sumDigits = 2 * sha256.Size
)

// encode gives the file's bytes, and sets Checksum.
func (m *Manifest) encode() ([]byte, error) {
	m.Checksum = sumKind + strings.Repeat("0", sumDigits)
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, err
	}
	b = sealed(append(b, '\n'))
	m.Checksum = string(b[len(sumBefore) : len(sumBefore)+len(sumKind)+sumDigits])
	return b, nil
}

// sealed puts the checksum where the zeros are.
func sealed(b []byte) []byte {
	sum := sha256.Sum256(b)
	hex.Encode(b[len(sumBefore)+len(sumKind):], sum[:])
	return b
}

// decodeManifest reads the file's bytes.
func decodeManifest(b []byte) (*Manifest, error) {
	at := len(sumBefore) + len(sumKind)
	if len(b) < at+sumDigits || string(b[:at]) != sumBefore+sumKind {
		return nil, errors.New("it is not the manifest of a backup, or damaged at its beginning")
	}
	said := string(b[at : at+sumDigits])
	zeroed := bytes.Clone(b)
	copy(zeroed[at:], strings.Repeat("0", sumDigits))
	if sum := sha256.Sum256(zeroed); hex.EncodeToString(sum[:]) != said {
		return nil, errors.New("its checksum is another: it was altered since it was written")
	}
	var form struct {
		Format int `json:"format"`
	}
	m := &Manifest{}
	err := json.Unmarshal(b, &form)
	if err == nil && form.Format != Format {
		return nil, fmt.Errorf("it is of format %d, this program reads format %d: use a newer kumofs", form.Format, Format)
	}
	if err == nil {
		err = json.Unmarshal(b, m)
	}
	if err == nil {
		err = m.check()
	}
	if err != nil {
		return nil, fmt.Errorf("it cannot be read: %w", err)
	}
	return m, nil
}

// check refuses what no program writes, so that nothing else need look.
func (m *Manifest) check() error {
	if n := m.Partitions; n < 1 || n > 1<<15 || n&(n-1) != 0 {
		return fmt.Errorf("there are %d partitions", n)
	}
	for _, f := range m.Files {
		if f.Name != filepath.Base(f.Name) || !strings.HasSuffix(f.Name, FileSuffix) || f.Size < fileHeader {
			return fmt.Errorf("a file %q of %d bytes", f.Name, f.Size)
		}
	}
	seen := make([]bool, m.Partitions)
	for i := range m.Parts {
		p := &m.Parts[i]
		switch {
		case int(p.Partition) >= m.Partitions || seen[p.Partition]:
			return fmt.Errorf("partition %d is there twice, or there is none", p.Partition)
		case p.File < 0 || p.File >= len(m.Files):
			return fmt.Errorf("partition %d is in file %d of %d", p.Partition, p.File, len(m.Files))
		case p.Offset < fileHeader || p.Size < 2*blockHeader || p.Offset > m.Files[p.File].Size-p.Size:
			return fmt.Errorf("partition %d is at %d to %d of a file of %d bytes", p.Partition, p.Offset, p.Offset+p.Size, m.Files[p.File].Size)
		}
		seen[p.Partition] = true
	}
	if m.Complete && len(m.Parts) != m.Partitions {
		return fmt.Errorf("it is called complete and has %d of %d partitions", len(m.Parts), m.Partitions)
	}
	return nil
}

// ReadManifest reads the manifest of a backup. An error that is fs.ErrNotExist: there is none.
func ReadManifest(dir string) (*Manifest, error) {
	path := filepath.Join(dir, ManifestName)
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	m, err := decodeManifest(b)
	if err != nil {
		return nil, &Damage{File: path, Why: err.Error()}
	}
	return m, nil
}

// Is tells whether dir is a backup of this form.
func Is(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, ManifestName))
	return err == nil
}

// writeManifest writes it, whole or not at all.
func writeManifest(dir string, m *Manifest) error {
	b, err := m.encode()
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, ManifestName+".tmp")
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, filepath.Join(dir, ManifestName))
	}
	if err == nil {
		err = syncDir(dir)
	}
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}

// findBase finds the directory of the backup that dir's manifest names as its base.
func findBase(dir string, b *Base) (string, *Manifest, error) {
	var why error
	try := func(path string) (*Manifest, bool) {
		m, err := ReadManifest(path)
		if err == nil && m.ID == b.ID {
			return m, true
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) && why == nil {
			why = err
		}
		return nil, false
	}
	path := b.Path
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	m, ok := try(path)
	first := why
	if !ok {
		parent := filepath.Dir(filepath.Clean(dir))
		list, _ := os.ReadDir(parent) // what cannot be read is not there
		for _, e := range list {
			if path = filepath.Join(parent, e.Name()); e.IsDir() && path != filepath.Clean(dir) {
				if m, ok = try(path); ok {
					break
				}
			}
		}
	}
	switch {
	case !ok && first != nil:
		return "", nil, first
	case !ok:
		return "", nil, fmt.Errorf("the backup %s stands on another one (id %s), which is neither at %s nor beside it: put it there", dir, b.ID, b.Path)
	case m.Checksum != b.Checksum:
		return "", nil, &Damage{File: filepath.Join(path, ManifestName), Why: "it is not as it was when " + dir + " was made on it"}
	}
	return path, m, nil
}
