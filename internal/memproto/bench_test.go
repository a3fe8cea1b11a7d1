package memproto

import (
	"testing"

	"github.com/kumofs/kumofs/internal/item"
)

// BenchmarkCommand is a command of each protocol parsed and answered, 100 B values.
func BenchmarkCommand(b *testing.B) {
	value := make([]byte, 100)
	for i := range value {
		value[i] = 'v'
	}
	hit := item.Result{Status: item.OK, Item: item.Item{Version: 5, Value: value}}
	done := item.Result{Status: item.OK, Item: item.Item{Version: 5}}
	for _, c := range []struct {
		name, in string
		res      *item.Result
	}{
		{"text get", "get bench:0000000042\r\n", &hit},
		{"text set", "set bench:0000000042 0 0 100\r\n" + string(value) + "\r\n", &done},
		{"meta get", "mg bench:0000000042 v\r\n", &hit},
		{"meta set", "ms bench:0000000042 100\r\n" + string(value) + "\r\n", &done},
		{"binary get", packet(binGet, 0, "", "bench:0000000042", ""), &hit},
		{"binary set", packet(binSet, 0, stored(0, 0), "bench:0000000042", string(value)), &done},
	} {
		b.Run(c.name, func(b *testing.B) {
			var p Parser
			var cmd Command
			in := []byte(c.in)
			var out []byte
			b.ReportAllocs()
			for b.Loop() {
				n, err := p.Next(in, &cmd)
				switch {
				case n != len(in) || err != nil:
					b.Fatal(n, err)
				case cmd.Kind == KindRetrieve:
					out = AppendValue(out[:0], cmd.Keys[0], c.res.Item.Flags, c.res.Item.Value, false, 0)
					out = AppendEnd(out, &cmd.Form)
				case cmd.Kind == KindRequest:
					out = AppendAnswer(out[:0], &cmd.Form, cmd.Shown, cmd.Flags, cmd.Request.Op, c.res)
				}
				if len(out) == 0 {
					b.Fatal("no answer")
				}
			}
		})
	}
}
