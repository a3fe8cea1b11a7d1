// Package memcached starts real memcacheds on loopback, for tests that compare with
// one.
package memcached

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A Server is a memcached that runs.
type Server struct {
	Addr    string
	Version string // as it answers: 1.6.18

	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// Start starts one, with more options if there are any. The error says why there is
// none.
func Start(more ...string) (*Server, error) {
	path, err := exec.LookPath("memcached")
	if err != nil {
		return nil, errors.New("no memcached is installed (scripts/deps installs it)")
	}
	// It takes no port 0, and another may take a free one first.
	for range 5 {
		var s *Server
		if s, err = start(path, more); err == nil {
			return s, nil
		}
	}
	return nil, err
}

func start(path string, more []string) (*Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	// no_modern: the thread that moves items in the LRU holds on to them, and incr does
	// not pad the number of an item that is held. One thread: nothing depends on which
	// one a connection gets.
	args := []string{"-l", "127.0.0.1", "-p", strconv.Itoa(port), "-U", "0", "-t", "1", "-m", "256", "-o", "no_modern"}
	if os.Getuid() == 0 {
		args = append(args, "-u", "root")
	}
	s := &Server{Addr: fmt.Sprintf("127.0.0.1:%d", port), cmd: exec.Command(path, append(args, more...)...), done: make(chan struct{})}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		s.cmd.Wait()
		close(s.done)
	}()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if s.Version, err = version(s.Addr); err == nil {
			return s, nil
		}
		select {
		case <-s.done:
			return nil, fmt.Errorf("memcached ended: %v", s.cmd.ProcessState)
		default:
		}
		if time.Now().After(end) {
			s.Stop()
			return nil, fmt.Errorf("memcached does not serve after 10 s: %w", err)
		}
	}
}

func version(addr string) (string, error) {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return "", err
	}
	fmt.Fprintf(c, "version\r\n")
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return "", err
	}
	return strings.TrimPrefix(strings.TrimSpace(line), "VERSION "), nil
}

// Stop ends it.
func (s *Server) Stop() {
	s.cmd.Process.Kill()
	<-s.done
}
