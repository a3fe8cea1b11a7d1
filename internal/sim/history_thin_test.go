package sim

import (
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/anishathalye/porcupine"

	"github.com/kumofs/kumofs/internal/item"
)

// TestThin: what is left out changes no verdict. Histories are made from an order
// of operations and then damaged, so that about half of them are illegal.
func TestThin(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	m := keyModel.ToModel()
	legal, illegal, left := 0, 0, 0
	for range 3000 {
		var ops []porcupine.Operation
		value, unique := "", uint64(0)
		for n := range 3 + rng.IntN(9) {
			at := int64(10 * n)
			call, ret := max(0, at-rng.Int64N(25)), at+rng.Int64N(25)
			in := input{req: item.Request{Op: item.OpGet}, call: float64(call), ret: float64(ret)}
			out := output{res: item.Result{Status: item.OK}}
			switch rng.IntN(6) {
			case 0:
				unique++
				value = strconv.FormatUint(unique, 10)
				in.req = item.Request{Op: item.OpSet, Value: []byte(value)}
				out.res.Item.Version = unique
			case 1:
				in.req.Op = item.OpDelete
				if value == "" {
					out.res.Status = item.NotFound
				}
				value = ""
			default:
				if value == "" {
					out.res.Status = item.NotFound
				} else {
					out.res.Item = item.Item{Value: []byte(value), Version: unique}
				}
			}
			ops = append(ops, porcupine.Operation{ClientId: n, Input: in, Output: out, Call: call, Return: ret})
		}
		for range rng.IntN(20) {
			a, b := rng.IntN(len(ops)), rng.IntN(len(ops))
			ia, ib := ops[a].Input.(input), ops[b].Input.(input)
			if ia.req.Op == item.OpGet && ib.req.Op == item.OpGet {
				ops[a].Output, ops[b].Output = ops[b].Output, ops[a].Output
			}
		}
		thinned := thin(ops)
		left += len(ops) - len(thinned)
		want, got := porcupine.CheckOperations(m, ops), porcupine.CheckOperations(m, thinned)
		if want != got {
			t.Fatalf("%v, and %v when %d of %d operations are left: %+v", want, got, len(thinned), len(ops), ops)
		}
		if want {
			legal++
		} else {
			illegal++
		}
	}
	if legal < 300 || illegal < 300 || left < 300 {
		t.Errorf("%d legal, %d illegal, %d operations left out: too few to show anything", legal, illegal, left)
	}
}
