//go:build !linux

package loop

import "net"

func nativeCore(Loop) *core { panic("no other kind here") }

// deaf is an address where a dial hangs: one nobody has (RFC 5737).
func (r *rig) deaf() string {
	if r.kind == "memory" {
		r.memory.Blackhole("deaf:1", true)
		return "deaf:1"
	}
	return net.JoinHostPort("192.0.2.1", "9")
}
