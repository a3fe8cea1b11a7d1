package differential

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kumofs/kumofs/test/e2e/harness"
	"github.com/kumofs/kumofs/test/memcached"
)

var (
	seed      = flag.Uint64("seed", 0, "seed of the commands (default: another each time)")
	commands  = flag.Int("commands", 20000, "commands to compare")
	depth     = flag.Int("depth", 100, "of the deepest pipeline")
	protocols = flag.String("protocols", "text,meta,binary", "what to speak")
	answers   = flag.Bool("answers", false, "tell how many answers of each kind there were")
	subjectAt = flag.String("subject", "", "HOST:PORT of a server that allows flush_all, to be compared with memcached; it is flushed (default: a memcached, and a kumofs of their own)")
)

// start is a memcached that ends with the test.
func start(t *testing.T, more ...string) *memcached.Server {
	t.Helper()
	mc, err := memcached.Start(more...)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(mc.Stop)
	return mc
}

func speak(t *testing.T) (set int) {
	t.Helper()
	for _, name := range strings.Split(*protocols, ",") {
		switch name {
		case "text":
			set |= Text
		case "meta":
			set |= Meta
		case "binary":
			set |= Binary
		default:
			t.Fatalf("-protocols: there is no %q", name)
		}
	}
	return set
}

func compare(t *testing.T, ref, sub string, speak int) {
	t.Helper()
	compareWith(t, Options{Reference: ref, Subject: sub, Seed: *seed, Commands: *commands, Depth: *depth, Protocols: speak})
}

func compareWith(t *testing.T, opt Options) {
	t.Helper()
	if opt.Seed == 0 {
		opt.Seed = uint64(time.Now().UnixNano())
	}
	begin := time.Now()
	rep, err := Run(opt)
	t.Logf("-seed %d -commands %d: %d commands in %d batches, %v", opt.Seed, opt.Commands, rep.Commands, rep.Batches, time.Since(begin).Round(time.Millisecond))
	for _, name := range slices.Sorted(maps.Keys(rep.Explained)) {
		t.Logf("  explained, %s: %d", name, rep.Explained[name])
	}
	if *answers {
		for _, kind := range slices.Sorted(maps.Keys(rep.Answers)) {
			t.Logf("  answered %s: %d", kind, rep.Answers[kind])
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if rep.Difference != "" {
		t.Error(rep.Difference)
	}
}

// TestReference compares memcached with memcached: what differs there is a fault of
// the generator.
func TestReference(t *testing.T) {
	t.Parallel()
	compare(t, start(t).Addr, start(t).Addr, speak(t))
}

// TestAlone asks memcached what it does not know, and all the rest: the answers must
// be in form.
func TestAlone(t *testing.T) {
	t.Parallel()
	compare(t, "", start(t).Addr, speak(t))
}

// TestFinds has a fault between the two: it must be found, and shown by a short
// dialogue.
func TestFinds(t *testing.T) {
	t.Parallel()
	ref, other := start(t), start(t)
	for _, fault := range []struct{ name, from, to string }{
		{"another word", "TOUCHED\r\n", "touched\r\n"},
		{"a word too many", "NS\r\n", "NS x\r\n"},
		{"a byte too many", "Not stored.", "Not stored"}, // the header says one more
		{"a flag", " f5 ", " f6 "},
		{"an answer less", "DELETED\r\n", ""},
	} {
		t.Run(fault.name, func(t *testing.T) {
			opt := Options{Reference: ref.Addr, Subject: falsify(t, other.Addr, fault.from, fault.to), Seed: 1, Commands: 20000,
				Limit: time.Second, Reduce: 5 * time.Second}
			rep, err := Run(opt)
			_, dialogue, ok := strings.Cut(rep.Difference, "the shortest dialogue")
			if err != nil || !ok {
				t.Fatalf("not found: %v %q", err, rep.Difference)
			}
			if n := strings.Count(dialogue, "\n"); n > 12 {
				t.Errorf("not reduced to a few commands, but %d lines:\n%s", n, dialogue)
			}
		})
	}
}

// falsify is a server that is the one at addr, but for words of its answers: in whatever
// pieces they come, or a difference would not be found again when its dialogue is reduced.
func falsify(t *testing.T, addr, from, to string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				up, err := net.Dial("tcp", addr)
				if err != nil {
					return
				}
				defer up.Close()
				go func() {
					io.Copy(up, c)
					up.Close()
				}()
				var held []byte // the end of what has come, where a word may have begun
				for buf := make([]byte, 1<<20); ; {
					if len(held) > 0 { // it may as well be the end of an answer
						up.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
					} else {
						up.SetReadDeadline(time.Time{})
					}
					n, err := up.Read(buf)
					if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
						return
					}
					out := bytes.ReplaceAll(append(held, buf[:n]...), []byte(from), []byte(to))
					held = nil
					if n > 0 {
						held = begun(out, from)
					}
					if _, err := c.Write(out[:len(out)-len(held)]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// begun is the end of b that may be the beginning of a word, a copy.
func begun(b []byte, word string) []byte {
	for n := min(len(b), len(word)-1); n > 0; n-- {
		if strings.HasPrefix(word, string(b[len(b)-n:])) {
			return bytes.Clone(b[len(b)-n:])
		}
	}
	return nil
}

// TestUniques: a unique must change on both sides or on none.
func TestUniques(t *testing.T) {
	s := newSession("", "", 0)
	for i, step := range []struct {
		key      string
		ref, sub uint64
		differs  bool
	}{
		{"a", 1, 100, false}, {"a", 1, 100, false}, {"a", 1, 101, true}, {"a", 2, 100, true}, {"a", 2, 102, false}, {"a", 1, 100, false}, {"b", 3, 100, false},
	} {
		what := s.learn(nil, unit{key: step.key, unique: step.ref}, unit{key: step.key, unique: step.sub})
		if (what != "") != step.differs {
			t.Errorf("step %d: %q", i+1, what)
		}
	}
	if got := s.unique("a", 1, subject); got != 102 {
		t.Errorf("the newest unique of a is %d", got)
	}
}

// kumofs is one that listens at the address: -subject, or a `kumofs local` of its own.
func kumofs(t *testing.T, more ...string) (addr string) {
	t.Helper()
	if *subjectAt != "" {
		return *subjectAt
	}
	if testing.Short() {
		t.Skip("left out by -short: it runs a cluster")
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "kumofs")
	if out, err := exec.Command("go", "build", "-o", program, "github.com/kumofs/kumofs/cmd/kumofs").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	port := harness.FreePort(t)
	var log bytes.Buffer
	cmd := exec.Command(program, append([]string{"local", "--port", strconv.Itoa(port), "--data", filepath.Join(dir, "data"), "--allow-flush-all"}, more...)...)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			cmd.Process.Kill()
			<-ended
			t.Error("kumofs did not end within 30 s of SIGTERM")
		}
		if t.Failed() {
			t.Logf("kumofs said:\n%s", log.Bytes())
		}
	})
	addr = fmt.Sprintf("127.0.0.1:%d", port)
	harness.Until(t, 60*time.Second, "kumofs serves", func() error {
		select {
		case <-ended:
			return fmt.Errorf("it has ended: %v", cmd.ProcessState)
		default:
		}
		line, err := asks(addr, "set endoftest 0 0 1\r\nx\r\n")
		if err == nil && line != "STORED" {
			err = fmt.Errorf("a set is answered %q", line)
		}
		return err
	})
	return addr
}

// asks sends a command and gives the first line of the answer.
func asks(addr, command string) (string, error) {
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(15 * time.Second))
	if _, err := io.WriteString(c, command); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(line), err
}

// TestKumofs compares kumofs with memcached, in the classic protocol alone and in all.
func TestKumofs(t *testing.T) {
	ref, addr := start(t).Addr, kumofs(t)
	t.Run("text", func(t *testing.T) {
		if speak(t)&Text == 0 {
			t.Skip("left out by -protocols")
		}
		compare(t, ref, addr, Text)
	})
	t.Run("all", func(t *testing.T) { compare(t, ref, addr, speak(t)) })
	for _, name := range []string{"text", "meta", "binary", "newer meta"} {
		t.Run("in step, "+name, func(t *testing.T) { inStepOver(t, addr, name, true) })
	}
	t.Run("newer meta, in form", func(t *testing.T) { compare(t, "", addr, Text|Meta) })
}

// TestLarge is TestKumofs with values that kumofs has in chunks, about a tenth as many
// commands.
func TestLarge(t *testing.T) {
	if *subjectAt != "" {
		t.Skip("-subject may not take large values")
	}
	ref := start(t, "-I", "64m", "-m", "4096").Addr
	addr := kumofs(t, "--max-item-size", "64M")
	compareWith(t, Options{Reference: ref, Subject: addr, Seed: *seed, Commands: *commands / 10, Depth: 20, Protocols: speak(t), Large: true})
}
