package replica

import (
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/planted"
	"github.com/kumofs/kumofs/internal/wire"
)

// handover are the writes that this server had ordered as primary and could not
// answer before the next epoch gave the partition to another. In an epoch that
// the map shows Active under this primary, agreed or not yet, every member's log
// is a prefix of this one's (R1, R4), so the new primary's position tells
// which of them it has: when its epoch is recorded Active those are done and the
// others never will be. Where that cannot be learned their fate is unknown (R8).
type handover struct {
	epoch uint32 // the last in which this server was primary
	waits []*Reply
	// position is the new primary's when it began; 0: not told yet.
	position uint64
}

// handOver keeps q's ordered writes for settle. from is the configuration that
// has ended.
func (r *Replica) handOver(q *primary, from *clustermap.Partition, fx *Effects) {
	r.handed = handover{epoch: from.Epoch}
	for w := q.waits; w != nil; {
		next := w.next
		w.next = nil
		if w.local {
			r.refuse(w.Token, wire.NakWrongEpoch, fx)
		} else {
			r.handed.waits = append(r.handed.waits, w)
		}
		w = next
	}
	if !from.Active || r.cfg.Epoch != from.Epoch+1 {
		r.fateUnknown(fx) // others may have ordered operations before or since
	}
}

// successor takes the new primary's position from a message of this epoch.
func (r *Replica) successor(position uint64, fx *Effects) {
	if len(r.handed.waits) > 0 && r.handed.position == 0 {
		r.handed.position = position
		r.settle(fx)
	}
}

// settle answers what was handed over, once the new epoch is recorded.
func (r *Replica) settle(fx *Effects) {
	h := &r.handed
	if len(h.waits) == 0 || !r.cfg.Active {
		return
	}
	if h.position == 0 || epochOf(h.position) > h.epoch {
		r.fateUnknown(fx)
		return
	}
	for _, w := range h.waits {
		if w.depends <= h.position {
			fx.Replies = append(fx.Replies, w)
		} else {
			r.refuse(w.Token, wire.NakWrongEpoch, fx)
		}
	}
	r.handed = handover{}
}

func (r *Replica) fateUnknown(fx *Effects) {
	for _, w := range r.handed.waits {
		if planted.Is(planted.FateTakenAsNotDone) {
			r.refuse(w.Token, wire.NakWrongEpoch, fx)
			continue
		}
		w.Result = item.Result{Status: item.FateUnknown}
		fx.Replies = append(fx.Replies, w)
	}
	r.handed = handover{}
}
