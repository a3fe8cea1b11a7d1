package backup

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Request asks a server for a partition. The zero value asks for all of it.
type Request struct {
	// Since is the position at which the asker has the partition. Values of pairs with a version
	// above it are sent, in those ranges that differ.
	Since uint64
	// Ranges cover the partition without gaps; none: all of it is asked for.
	Ranges []RangeSum
}

// RangeSum is a range of keys as the asker has it. It ends where the next one begins.
type RangeSum struct {
	Start []byte // empty: the partition's beginning
	Pairs int64
	Hash  uint64
}

const (
	// MaxRequest is the longest request, in bytes.
	MaxRequest = 16 << 20
	// RangePairs is how many pairs are in a range, if that gives no more than maxRanges.
	RangePairs = 128
	maxRanges  = 32 << 10
)

// AppendRequest appends r.
func AppendRequest(dst []byte, r *Request) []byte {
	dst = binary.BigEndian.AppendUint64(dst, r.Since)
	for i := range r.Ranges {
		dst = appendBytes(dst, r.Ranges[i].Start)
		dst = binary.AppendUvarint(dst, uint64(r.Ranges[i].Pairs))
		dst = binary.BigEndian.AppendUint64(dst, r.Ranges[i].Hash)
	}
	return dst
}

// DecodeRequest reads a request, which shares memory with b. No bytes are the zero value.
func DecodeRequest(b []byte) (*Request, error) {
	r := &Request{}
	if len(b) == 0 {
		return r, nil
	}
	d := decoder{b: b}
	r.Since = d.u64()
	for len(d.b) > 0 && d.err == nil {
		s := RangeSum{Start: d.bytes(MaxKey), Pairs: int64(d.uvarint(1 << 62)), Hash: d.u64()}
		n := len(r.Ranges)
		if d.err == nil && (n == 0) != (len(s.Start) == 0) || n > 0 && bytes.Compare(s.Start, r.Ranges[n-1].Start) <= 0 {
			return nil, fmt.Errorf("%w: range %d begins with %q", errEntry, n, s.Start)
		}
		if n == maxRanges {
			return nil, fmt.Errorf("%w: more than %d ranges", errEntry, maxRanges)
		}
		r.Ranges = append(r.Ranges, s)
	}
	if d.err == nil && len(r.Ranges) == 0 {
		d.fail("there are no ranges")
	}
	return r, d.err
}

// end is where range i ends.
func (r *Request) end(i int) []byte {
	if i+1 < len(r.Ranges) {
		return r.Ranges[i+1].Start
	}
	return nil
}

// Known is what the asker has of a partition, in the order of keys.
type Known struct {
	Keys     [][]byte
	Versions []uint64
}

// Request makes the request for what differs from k, which was taken at version since,
// and tells where in k each range begins.
func (k *Known) Request(since uint64) (r *Request, begins []int) {
	per := max(RangePairs, (len(k.Keys)+maxRanges-1)/maxRanges)
	r = &Request{Since: since}
	for at := 0; at == 0 || at < len(k.Keys); at += per {
		end := min(at+per, len(k.Keys))
		var d Digest
		for i := at; i < end; i++ {
			d.Add(k.Keys[i], k.Versions[i])
		}
		s := RangeSum{}
		if at > 0 {
			s.Start = k.Keys[at]
		}
		s.Pairs, s.Hash = d.Sum()
		r.Ranges = append(r.Ranges, s)
		begins = append(begins, at)
	}
	return r, begins
}
