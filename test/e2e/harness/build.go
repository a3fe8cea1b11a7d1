package harness

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Programs are those that tests run.
var Programs = []string{"kumo-manager", "kumo-server", "kumo-gateway", "kumoctl", "kumostat", "kumohash"}

// Build compiles the programs into dir.
func Build(dir string, flags ...string) error {
	args := append([]string{"build", "-o", dir + string(filepath.Separator)}, flags...)
	for _, p := range Programs {
		args = append(args, "github.com/kumofs/kumofs/cmd/"+p)
	}
	out, err := exec.Command("go", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// Ports are taken below the range from which the kernel gives ports to
// outgoing connections: one of those could sit on the port of a server that
// is down for a moment.
const firstPort, lastPort = 20000, 32000

var ports struct {
	sync.Mutex
	next int
}

// FreePort is a port of loopback on which nobody listens.
func FreePort(t TB) int {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	if ports.next == 0 {
		ports.next = firstPort + os.Getpid()*37%(lastPort-firstPort)
	}
	for range lastPort - firstPort {
		p := ports.next
		if ports.next++; ports.next > lastPort {
			ports.next = firstPort
		}
		if PortFree(p) {
			return p
		}
	}
	t.Fatal("no free port")
	return 0
}

// PortFree tells whether nobody listens on a port, on any address.
func PortFree(port int) bool {
	l, err := net.Listen("tcp4", fmt.Sprintf(":%d", port))
	if err != nil {
		return false
	}
	l.Close()
	return true
}

// Patience multiplies the limits of waits for something to become true: more than
// 1 where the machine has other work to do. It is set before anything runs.
var Patience time.Duration = 1

// Until calls ok until it returns nil; after limit (times Patience) the test ends
// with its last error.
func Until(t TB, limit time.Duration, what string, ok func() error) (took time.Duration) {
	t.Helper()
	limit *= Patience
	took, err := Poll(limit, ok)
	if err != nil {
		t.Fatalf("%s: not within %v: %v", what, limit, err)
	}
	return took
}

// Poll calls ok until it returns nil, or gives its last error after limit.
func Poll(limit time.Duration, ok func() error) (took time.Duration, err error) {
	start := time.Now()
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		if err = ok(); err == nil || time.Since(start) > limit {
			return time.Since(start), err
		}
		time.Sleep(wait)
	}
}

// run runs a tool and gives its standard output.
func run(limit time.Duration, argv ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	out, err := cmd.Output()
	if err != nil {
		var stderr []byte
		if e, ok := err.(*exec.ExitError); ok {
			stderr = e.Stderr
		}
		return out, fmt.Errorf("%s %v: %w: %s", filepath.Base(argv[0]), argv[1:], err, stderr)
	}
	return out, nil
}

// Shift writes a copy of a program whose wall clock is ahead of the machine's
// by so many seconds, or behind. Nothing else gives a process of Go a clock of
// its own: it asks the kernel without a library, namespaces do not cover that
// clock, and another runtime would have everything compiled again. time.Now is
// patched: the way taken where the kernel has no vDSO, which no test goes,
// becomes a place that adds the seconds.
func Shift(program, shifted string, seconds int32) error {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return errors.New("clocks are shifted on linux/amd64 only")
	}
	code, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	load := []byte{0x48, 0x8b, 0x44, 0x24, 0x10}                                     // MOVQ 16(SP), AX: the seconds
	next := append(load[:5:5], 0x48, 0x8b, 0x7c, 0x24, 0x18)                         // and MOVQ 24(SP), DI: the nanoseconds
	fallback := []byte{0x48, 0xc7, 0xc0, 228, 0, 0, 0, 0x0f, 0x05, 0xbf, 1, 0, 0, 0} // clock_gettime, then MOVL $1, DI
	ret := bytes.Index(code, next)
	if ret < 0 || bytes.Count(code, next) != 1 {
		return fmt.Errorf("%s: time.Now is not where it was", program)
	}
	spare := bytes.Index(code[ret:], fallback)
	if spare < 0 || spare > 256 {
		return fmt.Errorf("%s: time.Now is not as it was", program)
	}
	spare += ret
	jump := func(from, to int) []byte {
		return binary.LittleEndian.AppendUint32([]byte{0xe9}, uint32(int32(to-from-5)))
	}
	add := binary.LittleEndian.AppendUint32([]byte{0x48, 0x05}, uint32(seconds)) // ADDQ $seconds, AX
	copy(code[ret:], jump(ret, spare))
	copy(code[spare:], slices.Concat(load, add, jump(spare+len(load)+len(add), ret+len(load))))
	return os.WriteFile(shifted, code, 0o755)
}
