// Package testlog has what a program says while a test reads it.
package testlog

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"
)

// Buffer is a log, or any output, that can be read while it is written. Its zero
// value is empty.
type Buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write adds to it.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// String is all that was written.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// Says waits until text is in it.
func (b *Buffer) Says(t testing.TB, text string) {
	t.Helper()
	b.Becomes(t, text, func(all string) bool { return strings.Contains(all, text) })
}

// Becomes waits until it is as ok wants it; want says so.
func (b *Buffer) Becomes(t testing.TB, want string, ok func(all string) bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		all := b.String()
		if ok(all) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("it says\n%s\nwant\n%s", all, want)
		}
	}
}
