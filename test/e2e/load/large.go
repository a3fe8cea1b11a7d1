package load

import (
	"regexp"
	"strconv"
	"strings"
)

// A large value is short in histories, <L17-1048600> and what was put before or behind
// it, and long on the wire: the word is followed by so many bytes that it determines.

// Large is a value of about n bytes on the wire; id makes it another than all others.
func Large(id, n int) string { return "<L" + strconv.Itoa(id) + "-" + strconv.Itoa(n) + ">" }

var largeWord = regexp.MustCompile(`<L(\d+)-(\d+)>`)

// filler is what follows a word on the wire.
func filler(id, n string) string {
	size, _ := strconv.Atoi(n) // of digits, a few
	s := id + ","
	return strings.Repeat(s, size/len(s)+1)[:size]
}

// onWire blows a value up.
func onWire(v string) string {
	m := largeWord.FindStringSubmatchIndex(v)
	if m == nil {
		return v
	}
	return v[:m[1]] + filler(v[m[2]:m[3]], v[m[4]:m[5]]) + v[m[1]:]
}

// offWire undoes it. A value with another filler stays as it is, and is no value that
// anybody wrote.
func offWire(v string) string {
	if len(v) < 1000 {
		return v
	}
	at := strings.Index(v, "<L")
	if at < 0 {
		return v
	}
	m := largeWord.FindStringSubmatchIndex(v[at:min(len(v), at+40)])
	if m == nil || m[0] != 0 {
		return v
	}
	for i := range m {
		m[i] += at
	}
	f := filler(v[m[2]:m[3]], v[m[4]:m[5]])
	if !strings.HasPrefix(v[m[1]:], f) {
		return v
	}
	return v[:m[1]] + v[m[1]+len(f):]
}
