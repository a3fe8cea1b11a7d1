package backup

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"strconv"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/store"
)

// ToStore makes the store dst, which must not exist, of a backup and those on which it stands: with
// the versions and positions of the cluster that it is of. It has no identity, like a
// checkpoint. progress, if not nil, is called after each partition.
func ToStore(ctx context.Context, dst, dir string, o store.Options, progress func(done, of int)) (stats store.MergeStats, err error) {
	r, err := Open(dir)
	if err != nil {
		return stats, err
	}
	cluster, err := strconv.ParseUint(r.Manifest.Cluster, 16, 64)
	if err != nil {
		return stats, &Damage{File: dir, Why: "its cluster's ID cannot be read"}
	}
	stats.Partitions = r.Manifest.Partitions
	err = store.Make(dst, clustermap.ClusterID(cluster), stats.Partitions, o, func(k *store.Maker) error {
		for part := range r.Manifest.Partitions {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := toStore(k, r, uint16(part), &stats); err != nil {
				return err
			}
			if progress != nil {
				progress(part+1, r.Manifest.Partitions)
			}
		}
		return nil
	})
	return stats, err
}

// toStore moves a partition. Large values get new chunks.
func toStore(k *store.Maker, r *Reader, part uint16, stats *store.MergeStats) error {
	p, err := r.Pairs(part)
	if err != nil {
		return err
	}
	defer p.Close()
	var e Entry
	var rec []byte
	for {
		err := p.Next(&e)
		if errors.Is(err, io.EOF) {
			// A partition in which nothing was ever written has no position.
			if v := r.Part(part).Version; v != 0 {
				return k.SetPosition(part, v)
			}
			return nil
		}
		if err != nil {
			return err
		}
		it := item.Item{Version: e.Version, Unique: e.Unique, Flags: e.Flags, Exptime: e.Exptime, Stale: e.Stale, TokenSent: e.TokenSent, Value: e.Value}
		key := e.Key
		stats.Items++
		stats.Bytes += int64(len(e.Key)) + int64(e.Length)
		if e.Kind == Large {
			key = bytes.Clone(e.Key)
			if err := chunks(k, p, part, key, &e, &it); err != nil {
				return err
			}
		}
		rec = item.AppendRecord(rec[:0], &it)
		if err := k.Put(part, key, rec); err != nil {
			return err
		}
	}
}

// chunks stores the value of a Large and gives it its manifest.
func chunks(k *store.Maker, p *Pairs, part uint16, key []byte, e *Entry, it *item.Item) error {
	seg := item.Segment{Size: int(e.Length), Chunk: item.ChunkSize}
	_, _ = rand.Read(seg.ID[:]) // never fails
	var rec []byte
	put := func(key, value []byte) error {
		rec = item.AppendRecord(rec[:0], &item.Item{Version: it.Version, Value: value})
		return k.Put(part, key, rec)
	}
	if err := put(item.AppendMarkerKey(nil, key, seg.ID), []byte(item.MarkerListed)); err != nil {
		return err
	}
	var buf []byte
	for i, left := 0, seg.Size; left > 0; i++ {
		n := min(left, item.ChunkSize)
		for len(buf) < n {
			if err := p.Next(e); err != nil {
				return err
			}
			buf = append(buf, e.Value...)
		}
		if err := put(item.AppendChunkKey(nil, key, seg.ID, i), buf[:n]); err != nil {
			return err
		}
		buf = buf[:copy(buf, buf[n:])]
		left -= n
	}
	it.Large, it.Value = true, item.AppendManifest(nil, []item.Segment{seg})
	return nil
}
