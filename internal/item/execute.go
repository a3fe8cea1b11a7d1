package item

import "fmt"

// Execute tells what req answers and does to the item of its key: the whole of
// memcached's semantics for one key.
//
// cur is the item there, nil when there is none; whoever calls has turned
// expired and flushed items into nil. now is the primary's clock in Unix
// seconds, at least 1. version is the one that the write gets, if there is one.
//
// Execute keeps nothing and changes nothing that it is given. What it returns
// may share memory with req.Value and cur.Value.
//
// A request that is not a command on one key (OpFlush, OpOpenSession, an
// unknown number) is answered Failed.
func Execute(req *Request, cur *Item, now int64, version uint64) Outcome {
	switch req.Op {
	case OpGet, OpMetaGet:
		return retrieve(req, cur, now, version)
	case OpSet:
		return put(req, now, version)
	case OpAdd:
		if cur != nil {
			return refuse(NotStored)
		}
		return put(req, now, version)
	case OpReplace:
		if cur == nil {
			return refuse(NotStored)
		}
		return put(req, now, version)
	case OpCAS:
		return compareAndSet(req, cur, now, version)
	case OpAppend, OpPrepend:
		return concat(req, cur, now, version)
	case OpIncr, OpDecr:
		return arithmetic(req, cur, now, version)
	case OpTouch, OpGetAndTouch:
		return touch(req, cur, now, version)
	case OpDelete:
		return remove(req, cur, now, version)
	}
	return Outcome{Result: Result{Status: Failed, Message: fmt.Sprintf("operation %d is not a command on one key", req.Op)}}
}

// refuse is the answer of a command that writes nothing.
func refuse(s Status) Outcome { return Outcome{Result: Result{Status: s}} }

// store is the answer of a command that leaves it there.
func store(it Item) Outcome {
	out := Outcome{Result: Result{Status: OK, Item: it, Size: it.Size()}, Effect: Put, New: it}
	// Only retrievals show more.
	out.Result.Item.Value, out.Result.Item.Fetched, out.Result.Item.Accessed = nil, false, 0
	return out
}

// explicit is the unique of an item that req stores anew; 0: its version.
func explicit(req *Request) uint64 {
	if req.Has(Explicit) {
		return req.Unique
	}
	return 0
}

// retrieve is OpGet, which never writes, and OpMetaGet, which does where an option
// or the item's state asks for it. With neither of them it is the classic get.
func retrieve(req *Request, cur *Item, now int64, version uint64) Outcome {
	out := retrieval(req, cur, now, version)
	if out.Effect != None && req.Op == OpGet {
		return refuse(MustWrite)
	}
	return out
}

func retrieval(req *Request, cur *Item, now int64, version uint64) Outcome {
	if cur == nil {
		if !req.Has(Vivify) {
			return refuse(NotFound)
		}
		return vivified(req, Item{TokenSent: true, Value: []byte{}}, now, version)
	}
	exptime := cur.Exptime
	if req.Has(RecacheNew) {
		exptime = ResolveExptime(req.Exptime, now)
	}
	won := !cur.TokenSent &&
		(req.Has(Win) && cur.Stale || req.Has(Recache) && exptime != 0 && exptime < ResolveExptime(req.RecacheExptime, now))
	out := Outcome{Result: Result{Status: OK, Item: *cur, Size: cur.Size(), Now: now, Won: won}}
	if req.Has(Touch) || won {
		out.Effect = Put
		out.New = *cur
		out.New.Version, out.New.Unique = version, cur.CAS() // nobody's cas fails for it
		if req.Has(Touch) {
			out.New.Exptime = ResolveExptime(req.Exptime, now)
		}
		out.New.TokenSent = cur.TokenSent || won
		if !req.Has(NoBump) {
			out.New.Bump(now)
		}
		// h and l are what they were before.
		out.Result.Item = out.New
		out.Result.Item.Fetched, out.Result.Item.Accessed = cur.Fetched, cur.Accessed
		if req.Has(TTLBefore) {
			out.Result.Item.Exptime = cur.Exptime
		}
	}
	if req.Has(NoValue) {
		out.Result.Item.Value = nil
	}
	return out
}

// vivified is the answer of a command that has made the item that it missed.
func vivified(req *Request, it Item, now int64, version uint64) Outcome {
	it.Version, it.Unique = version, explicit(req)
	it.Exptime = ResolveExptime(req.VivifyExptime, now)
	it.Accessed = uint32(now)
	out := store(it)
	out.Result.Now = now
	out.Result.Won = it.TokenSent
	if req.Op.Retrieves() && !req.Has(NoBump) {
		out.New.Bump(now)
	}
	if req.Op.Retrieves() && !req.Has(NoValue) {
		out.Result.Item.Value = it.Value
	}
	if req.Has(TTLBeforeMade) {
		out.Result.Item.Exptime = 0
	}
	return out
}

func put(req *Request, now int64, version uint64) Outcome {
	return store(Item{
		Version:  version,
		Unique:   explicit(req),
		Flags:    req.Flags,
		Exptime:  ResolveExptime(req.Exptime, now),
		Value:    req.Value,
		Large:    req.Has(Large),
		Accessed: uint32(now),
	})
}

func compareAndSet(req *Request, cur *Item, now int64, version uint64) Outcome {
	switch {
	case cur == nil:
		return refuse(NotFound)
	case cur.CAS() == req.CAS:
		return put(req, now, version)
	case !req.Has(Invalidate) || req.CAS == 0 || req.CAS > cur.CAS():
		return refuse(Exists)
	}
	// A late value: better than the one before, but marked as stale. Who won the
	// token to make a newer one has it still.
	out := put(req, now, version)
	out.New.Exptime, out.New.Stale, out.New.TokenSent = cur.Exptime, true, cur.TokenSent
	out.Result.Item.Exptime = cur.Exptime
	return out
}

// concat is append and prepend: the flags and the exptime of the request are
// ignored, the item keeps its own.
func concat(req *Request, cur *Item, now int64, version uint64) Outcome {
	switch {
	case cur == nil && req.Has(Vivify):
		return vivified(req, Item{Flags: req.Flags, Value: req.Value, Large: req.Has(Large)}, now, version)
	case cur == nil:
		return refuse(NotStored)
	case req.Has(Compare) && cur.CAS() != req.CAS:
		return refuse(Exists)
	}
	added := Item{Value: req.Value, Large: req.Has(Large)}
	size := uint64(cur.Size()) + uint64(added.Size())
	if req.MaxItemSize != 0 && size > uint64(req.MaxItemSize) || size > maxValue {
		return refuse(TooLarge)
	}
	if cur.Large || added.Large || size > MaxWhole {
		return joined(req, cur, now, version)
	}
	first, second := cur.Value, req.Value
	if req.Op == OpPrepend {
		first, second = second, first
	}
	value := make([]byte, 0, size)
	value = append(append(value, first...), second...)
	return store(Item{Version: version, Unique: explicit(req), Flags: cur.Flags, Exptime: cur.Exptime, Value: value, Accessed: uint32(now)})
}

// touch is touch and get-and-touch. It writes, but the client sees the unique
// it knew: a touch does not make a cas fail.
func touch(req *Request, cur *Item, now int64, version uint64) Outcome {
	if cur == nil {
		return refuse(NotFound)
	}
	it := *cur
	it.Version, it.Unique = version, cur.CAS()
	it.Exptime = ResolveExptime(req.Exptime, now)
	it.Bump(now)
	out := store(it)
	out.Result.Now = now
	if req.Op == OpGetAndTouch {
		out.Result.Item.Value = cur.Value
	} else {
		out.Result.Size = 0
	}
	return out
}

// remove is delete, and what meta delete makes of it.
func remove(req *Request, cur *Item, now int64, version uint64) Outcome {
	switch {
	case cur == nil:
		return refuse(NotFound)
	case req.Has(Compare) && cur.CAS() != req.CAS:
		return refuse(Exists)
	case !req.Has(RemoveValue | Invalidate):
		return Outcome{Result: Result{Status: OK, Item: Item{Version: version}}, Effect: Remove}
	}
	it := *cur
	if req.Has(RemoveValue) {
		it = Item{Unique: cur.CAS(), Flags: req.Flags, Exptime: ResolveExptime(req.Exptime, now), Value: []byte{}, Accessed: uint32(now)}
		if req.Has(Explicit) {
			it.Unique = req.Unique
		}
	}
	it.Version = version
	if req.Has(Invalidate) {
		if req.Has(Touch) {
			it.Exptime = ResolveExptime(req.Exptime, now)
		}
		// A new unique, so that a cas of the old value fails; and a token to win.
		it.Stale, it.TokenSent, it.Unique = true, false, explicit(req)
	}
	out := store(it)
	out.Result.Size = 0
	return out
}
