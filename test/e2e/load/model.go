package load

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// value is a key's state in the model.
type value struct {
	there bool
	v     string
	tag   int64 // of the operation whose expiry time it has; 0 is none
}

// errUnjudged: the history is too long or too wild to be judged in time.
var errUnjudged = errors.New("not judged within a minute")

// triedAgain is from when on an operation may have been tried again after a failover.
const triedAgain = 100 * time.Millisecond

// judge says what is wrong with the history of one key, by the time of calls,
// that was in state first.
func judge(first value, h []record) error {
	if err := uniques(h); err != nil {
		return err
	}
	model := porcupine.Model{
		Init: func() any { return first },
		Step: func(s, in, out any) (bool, any) { return step(s.(value), in.(*Op), out.(*Result)) },
	}
	var ops []porcupine.Operation
	expires := func(r *record, ret int64) {
		// memcached counts whole seconds; the server's clock was read between call and answer.
		begin, end := r.call+time.Duration(r.op.Exptime-1)*time.Second, int64(math.MaxInt64)
		if ret != math.MaxInt64 {
			end = ret + int64(time.Duration(r.op.Exptime+1)*time.Second)
		}
		ops = append(ops, porcupine.Operation{Input: &Op{Kind: expire, Tag: r.op.Tag}, Output: &Result{}, Call: int64(begin), Return: end})
	}
	for i := range h {
		r := &h[i]
		ret := int64(r.ret)
		if r.op.Kind == GetTouch && (r.res.Status == Done || r.res.Status == Missing) && r.ret-r.call > triedAgain {
			// Its first try may have touched the item, and its last read what is there then (docs/protocol.md, R8).
			for _, op := range []porcupine.Operation{
				{Input: &Op{Kind: Touch, Key: r.op.Key, Exptime: r.op.Exptime, Tag: r.op.Tag}, Output: &Result{Status: Unknown}},
				{Input: &Op{Kind: Get, Key: r.op.Key}, Output: &r.res},
			} {
				op.ClientId, op.Call, op.Return = r.client+1, int64(r.call), ret
				ops = append(ops, op)
			}
			if r.op.Exptime > 0 {
				expires(r, ret)
			}
			continue
		}
		switch r.res.Status {
		case Failed:
			continue // says that it was not done
		case Unknown:
			if r.op.Kind == Get {
				continue
			}
			ret = math.MaxInt64
		}
		ops = append(ops, porcupine.Operation{ClientId: r.client + 1, Input: &r.op, Output: &r.res, Call: int64(r.call), Return: ret})
		if r.op.Exptime > 0 && r.res.Status != Missing && r.res.Status != Refused {
			expires(r, ret)
		}
	}
	switch porcupine.CheckOperationsTimeout(model, ops, time.Minute) {
	case porcupine.Ok:
		return nil
	case porcupine.Unknown:
		return fmt.Errorf("history of %d operations: %w", len(ops), errUnjudged)
	}
	return fmt.Errorf("history of %d operations is not linearizable", len(ops))
}

// step is what a command does to a key, and whether it can have been answered so.
func step(s value, op *Op, r *Result) (bool, value) {
	unknown := r.Status == Unknown
	is := func(want Status, next value) (bool, value) { return unknown || r.Status == want, next }
	put := func(v string) value { return value{true, v, op.Tag} }
	keep := func(v string) value { return value{true, v, s.tag} }
	switch op.Kind {
	case Get:
		if !s.there {
			return r.Status == Missing, s
		}
		return r.Status == Done && r.Value == s.v, s
	case Set:
		return is(Done, put(op.Value))
	case Add:
		if s.there {
			return is(Refused, s)
		}
		return is(Done, put(op.Value))
	case Replace:
		if !s.there {
			return is(Refused, s)
		}
		return is(Done, put(op.Value))
	case Append, Prepend:
		if !s.there {
			return is(Refused, s)
		}
		if op.Kind == Append {
			return is(Done, keep(s.v+op.Value))
		}
		return is(Done, keep(op.Value+s.v))
	case CAS:
		// No two writes have the same value, so the unique stands for the value.
		switch {
		case !s.there:
			return is(Missing, s)
		case s.v != op.Expect:
			return is(Refused, s)
		}
		return is(Done, put(op.Value))
	case Incr, Decr:
		if !s.there {
			return is(Missing, s)
		}
		n, _ := strconv.ParseUint(strings.TrimRight(s.v, " "), 10, 64)
		switch {
		case op.Kind == Incr:
			n++
		case n > 0:
			n--
		}
		// The stored number never gets shorter.
		digits := strconv.FormatUint(n, 10)
		next := keep(fmt.Sprintf("%-*s", len(s.v), digits))
		return unknown || r.Status == Done && r.Value == digits, next
	case Touch:
		if !s.there {
			return is(Missing, s)
		}
		return is(Done, value{true, s.v, op.Tag})
	case GetTouch:
		if !s.there {
			return is(Missing, s)
		}
		return unknown || r.Status == Done && r.Value == s.v, value{true, s.v, op.Tag}
	case Delete:
		if !s.there {
			return is(Missing, s)
		}
		return is(Done, value{})
	case FlushAll:
		return true, value{}
	case expire:
		if s.there && s.tag == op.Tag {
			return true, value{}
		}
		return true, s
	}
	panic("no such kind")
}

// uniques checks that uniques grow: a read that begins after another ended sees
// no smaller one, and one unique has one value.
func uniques(h []record) error {
	type seen struct {
		ret    time.Duration
		unique uint64
	}
	byUnique := map[uint64]string{}
	var reads []*record
	for i := range h {
		r := &h[i]
		if r.op.Kind != Get || r.res.Status != Done {
			continue
		}
		if v, ok := byUnique[r.res.Unique]; ok && v != r.res.Value {
			return fmt.Errorf("unique %d had the values %q and %q", r.res.Unique, v, r.res.Value)
		}
		byUnique[r.res.Unique] = r.res.Value
		reads = append(reads, r)
	}
	byRet := slices.Clone(reads)
	slices.SortFunc(byRet, func(a, b *record) int { return int(a.ret - b.ret) })
	var before seen
	n := 0
	for _, r := range reads { // by call
		for n < len(byRet) && byRet[n].ret < r.call {
			if byRet[n].res.Unique > before.unique {
				before = seen{byRet[n].ret, byRet[n].res.Unique}
			}
			n++
		}
		if r.res.Unique < before.unique {
			return fmt.Errorf("a read at %v saw unique %d after one that ended at %v saw %d", r.call, r.res.Unique, before.ret, before.unique)
		}
	}
	return nil
}
