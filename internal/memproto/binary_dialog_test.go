package memproto

import (
	"encoding/binary"
	"strings"
)

// packet is a request of the binary protocol.
func packet(opcode byte, unique uint64, extras, key, value string) string {
	b := []byte{magicRequest, opcode}
	b = binary.BigEndian.AppendUint16(b, uint16(len(key)))
	b = append(b, byte(len(extras)), 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(len(extras)+len(key)+len(value)))
	b = append(b, "opaq"...)
	b = binary.BigEndian.AppendUint64(b, unique)
	return string(b) + extras + key + value
}

// reply is an answer to it, without unique.
func reply(opcode byte, status uint16, extras, key, value string) string {
	b := []byte(packet(opcode, 0, extras, key, value))
	b[0] = magicAnswer
	binary.BigEndian.PutUint16(b[6:], status)
	return string(b)
}

func failed(opcode byte, status uint16) string {
	return reply(opcode, status, "", "", binaryTexts[status])
}

func u32(n uint32) string { return string(binary.BigEndian.AppendUint32(nil, n)) }
func u64(n uint64) string { return string(binary.BigEndian.AppendUint64(nil, n)) }

func stored(flags, exptime uint32) string { return u32(flags) + u32(exptime) }
func counted(delta, initial uint64, exptime uint32) string {
	return u64(delta) + u64(initial) + u32(exptime)
}

// binaryDialogs are the binary protocol's part of dialogs: what shows no unique
// but 0, because those of a memcached and ours are others.
var binaryDialogs = quitting([]dialog{
	{name: "bin noop and version", in: packet(binNoop, 0, "", "", "") + packet(binVersion, 0, "", "", ""),
		out: reply(binNoop, 0, "", "", "") + reply(binVersion, 0, "", "", "1.6.18"), closed: true},
	{name: "bin misses", in: packet(binGet, 0, "", "k", "") + packet(binGetK, 0, "", "k", "") + packet(binGetQ, 0, "", "k", "") + packet(binGetKQ, 0, "", "k", "") +
		packet(binGAT, 0, u32(5), "k", "") + packet(binGATQ, 0, u32(5), "k", "") + packet(binGATK, 0, u32(5), "k", "") + packet(binTouch, 0, u32(5), "k", "") +
		packet(binDelete, 0, "", "k", "") + packet(binDeleteQ, 0, "", "k", "") + packet(binIncr, 0, counted(1, 0, noVivify), "k", "") +
		packet(binReplace, 0, stored(0, 0), "k", "v") + packet(binAppend, 0, "", "k", "v") + packet(binPrependQ, 0, "", "k", "v") + packet(binSet, 7, stored(0, 0), "k", "v"),
		out: failed(binGet, 1) + reply(binGetK, 1, "", "k", "") + failed(binGAT, 1) + reply(binGATK, 1, "", "k", "") + failed(binTouch, 1) +
			failed(binDelete, 1) + failed(binDeleteQ, 1) + failed(binIncr, 1) +
			failed(binReplace, 1) + failed(binAppend, 5) + failed(binPrependQ, 5) + failed(binSet, 1), closed: true},
	{name: "bin conditions", in: packet(binSetQ, 0, stored(7, 0), "k", "x") + packet(binAdd, 0, stored(0, 0), "k", "v") + packet(binAddQ, 0, stored(0, 0), "k", "v") +
		packet(binSet, 99999, stored(0, 0), "k", "v") + packet(binReplaceQ, 99999, stored(0, 0), "k", "v") + packet(binDelete, 99999, "", "k", "") +
		packet(binIncr, 0, counted(1, 0, 0), "k", "") + packet(binDeleteQ, 0, "", "k", "") + packet(binNoop, 0, "", "", ""),
		out: failed(binAdd, 2) + failed(binAddQ, 2) + failed(binSet, 2) + failed(binReplaceQ, 2) + failed(binDelete, 2) + failed(binIncr, 6) + reply(binNoop, 0, "", "", ""), closed: true},
	{name: "bin quit", in: packet(binQuit, 0, "", "", ""), out: reply(binQuit, 0, "", "", ""), closed: true},
	{name: "bin quitq", in: packet(binQuitQ, 0, "", "", ""), closed: true},
	{name: "bin unknown opcode", in: packet(0x7f, 0, "", "", "") + packet(binQuitQ, 0, "", "", ""), out: failed(0x7f, binUnknown), closed: true},
	{name: "bin unknown opcode with a body", in: packet(0x7f, 0, "eeee", "k", "vvv") + packet(binNoop, 0, "", "", ""), closed: true,
		out: failed(0x7f, binUnknown) + reply(binNoop, 0, "", "", ""), ours: "memcached loses its place in the stream"},
	{name: "bin lengths that do not add up", in: "\x80\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x01opaq\x00\x00\x00\x00\x00\x00\x00\x00", out: failed(binGet, binUnknown), closed: true,
		ours: "memcached waits for the key first"},
	{name: "bin key too long", in: packet(binGet, 0, "", badKey, ""), out: failed(binGet, binInvalid), closed: true},
	{name: "bin wrong extras", in: packet(binSet, 0, "1234", "k", "v"), out: failed(binSet, binInvalid), closed: true},
	{name: "bin no key", in: packet(binGet, 0, "", "", ""), out: failed(binGet, binInvalid), closed: true},
	{name: "bin get with a value", in: packet(binGet, 0, "", "k", "v"), out: failed(binGet, binInvalid), closed: true},
	{name: "bin too large", in: packet(binSet, 0, stored(0, 0), "k", strings.Repeat("x", 2000000)) + packet(binAppend, 0, "", "k", strings.Repeat("x", 2000000)) +
		packet(binNoop, 0, "", "", ""), out: failed(binSet, binTooLarge) + failed(binAppend, binTooLarge) + reply(binNoop, 0, "", "", ""), closed: true},
	{name: "bin sasl without auth", in: packet(binSASLList, 0, "", "", "") + packet(binSASLAuth, 0, "", "PLAIN", "") + packet(binNoop, 0, "", "", ""), closed: true,
		out: failed(binSASLList, binUnknown) + failed(binSASLAuth, binUnknown) + reply(binNoop, 0, "", "", "")},
	{name: "bin verbosity", in: packet(binVerbosity, 0, u32(1), "", ""), out: reply(binVerbosity, 0, "", "", ""), closed: true, ours: "memcached does not know it"},
	{name: "bin garbage after a packet", in: packet(binNoop, 0, "", "", "") + "version\r\n" + strings.Repeat(" ", 24), out: reply(binNoop, 0, "", "", ""), closed: true},
})

// quitting has every dialog end with a quiet quit, if the server has not closed before.
func quitting(list []dialog) []dialog {
	for i := range list {
		list[i].in += packet(binQuitQ, 0, "", "", "")
		list[i].closed = true
	}
	return list
}
