package wire

import "encoding/binary"

// resultBytes is a SessionResult in a frame; sessionBytes, the least that a Session takes.
const (
	resultBytes  = 8 + 8 + 8 + 4 + 4 + 1
	sessionBytes = 8 + 1 + 4 + 1
)

func appendSessions(dst []byte, list []Session) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(list)))
	for i := range list {
		s := &list[i]
		dst = le.AppendUint64(dst, s.ID)
		dst = append(dst, bit(s.Gone))
		dst = le.AppendUint32(dst, s.Lowest)
		dst = binary.AppendUvarint(dst, uint64(len(s.Results)))
		for j := range s.Results {
			r := &s.Results[j]
			dst = le.AppendUint64(dst, r.Version)
			dst = le.AppendUint64(dst, r.Answer)
			dst = le.AppendUint64(dst, uint64(r.Exptime))
			dst = le.AppendUint32(dst, r.Flags)
			dst = le.AppendUint32(dst, r.Number)
			dst = append(dst, byte(r.Status)|bit(r.Won)*statusWon)
		}
	}
	return dst
}

func (d *decoder) sessions() []Session {
	n := d.count(sessionBytes)
	if n == 0 {
		return nil
	}
	list := make([]Session, 0, n)
	for i := 0; i < n && d.err == nil; i++ {
		s := Session{ID: d.u64(), Gone: d.byte() != 0, Lowest: d.u32()}
		if k := d.count(resultBytes); k > 0 {
			s.Results = make([]SessionResult, k)
			for j := range s.Results {
				r := &s.Results[j]
				*r = SessionResult{Version: d.u64(), Answer: d.u64(), Exptime: int64(d.u64()), Flags: d.u32(), Number: d.u32()}
				r.Status, r.Won = d.status()
			}
		}
		list = append(list, s)
	}
	return list
}
