package clustermap

import (
	"math/bits"

	"github.com/cespare/xxhash/v2"
)

// Hash is the hash of a user's key: xxh64 with seed 0.
func Hash(key []byte) uint64 { return xxhash.Sum64(key) }

// PartitionOf is the partition that key belongs to: the top log2(partitions)
// bits of its hash. partitions must be a power of two of at most MaxPartitions.
func PartitionOf(key []byte, partitions int) uint16 {
	return partitionOfHash(Hash(key), partitions)
}

// PartitionOf is the partition that key belongs to; 0 in a map without partitions.
func (m *Map) PartitionOf(key []byte) uint16 {
	return partitionOfHash(Hash(key), len(m.Partitions))
}

// partitionOfHash multiplies instead of shifting: for a power of two the high
// word is just the top bits, and for any other count it is still in range.
func partitionOfHash(h uint64, partitions int) uint16 {
	hi, _ := bits.Mul64(h, uint64(partitions))
	return uint16(hi)
}
