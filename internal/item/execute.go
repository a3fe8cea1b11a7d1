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
	case OpGet:
		return get(cur)
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
		return concat(req, cur, version)
	case OpIncr, OpDecr:
		return arithmetic(req, cur, version)
	case OpTouch, OpGetAndTouch:
		return touch(req, cur, now, version)
	case OpDelete:
		if cur == nil {
			return refuse(NotFound)
		}
		return Outcome{Result: Result{Status: OK, Item: Item{Version: version}}, Effect: Remove}
	}
	return Outcome{Result: Result{Status: Failed, Message: fmt.Sprintf("operation %d is not a command on one key", req.Op)}}
}

// refuse is the answer of a command that writes nothing.
func refuse(s Status) Outcome { return Outcome{Result: Result{Status: s}} }

// store is the answer of a command that leaves it there.
func store(it Item) Outcome {
	out := Outcome{Result: Result{Status: OK, Item: it}, Effect: Put, New: it}
	out.Result.Item.Value = nil
	return out
}

func get(cur *Item) Outcome {
	if cur == nil {
		return refuse(NotFound)
	}
	return Outcome{Result: Result{Status: OK, Item: *cur}}
}

func put(req *Request, now int64, version uint64) Outcome {
	return store(Item{
		Version: version,
		Flags:   req.Flags,
		Exptime: ResolveExptime(req.Exptime, now),
		Value:   req.Value,
	})
}

func compareAndSet(req *Request, cur *Item, now int64, version uint64) Outcome {
	switch {
	case cur == nil:
		return refuse(NotFound)
	case cur.CAS() != req.CAS:
		return refuse(Exists)
	}
	return put(req, now, version)
}

// concat is append and prepend: the flags and the exptime of the request are
// ignored, the item keeps its own.
func concat(req *Request, cur *Item, version uint64) Outcome {
	if cur == nil {
		return refuse(NotStored)
	}
	size := len(cur.Value) + len(req.Value)
	if req.MaxItemSize != 0 && uint64(size) > uint64(req.MaxItemSize) {
		return refuse(TooLarge)
	}
	first, second := cur.Value, req.Value
	if req.Op == OpPrepend {
		first, second = second, first
	}
	value := make([]byte, 0, size)
	value = append(append(value, first...), second...)
	return store(Item{Version: version, Flags: cur.Flags, Exptime: cur.Exptime, Value: value})
}

// touch is touch and get-and-touch. It writes, but the client sees the unique
// it knew: a touch does not make a cas fail.
func touch(req *Request, cur *Item, now int64, version uint64) Outcome {
	if cur == nil {
		return refuse(NotFound)
	}
	it := Item{
		Version: version,
		Unique:  cur.CAS(),
		Flags:   cur.Flags,
		Exptime: ResolveExptime(req.Exptime, now),
		Value:   cur.Value,
	}
	out := store(it)
	if req.Op == OpGetAndTouch {
		out.Result.Item.Value = cur.Value
	}
	return out
}
