package control

import (
	"encoding/binary"
	"errors"
)

const positionBytes = 11

// EncodePositions packs positions for Hello: 11 bytes each.
func EncodePositions(list []StorePosition) []byte {
	b := make([]byte, 0, len(list)*positionBytes)
	for _, p := range list {
		b = binary.BigEndian.AppendUint16(b, p.Partition)
		b = binary.BigEndian.AppendUint64(b, p.Version)
		var u byte
		if p.Unfinished {
			u = 1
		}
		b = append(b, u)
	}
	return b
}

// DecodePositions unpacks what EncodePositions made.
func DecodePositions(b []byte) ([]StorePosition, error) {
	if len(b)%positionBytes != 0 {
		return nil, errors.New("control: positions are not a whole number of entries")
	}
	list := make([]StorePosition, 0, len(b)/positionBytes)
	for ; len(b) > 0; b = b[positionBytes:] {
		list = append(list, StorePosition{
			Partition:  binary.BigEndian.Uint16(b),
			Version:    binary.BigEndian.Uint64(b[2:]),
			Unfinished: b[10] != 0,
		})
	}
	return list, nil
}
