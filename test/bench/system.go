package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// system is one thing to measure: its processes, started fresh on loopback.
type system struct {
	name     string
	protocol string
	start    func(s *system, dir string) error
	addr     string
	procs    []*exec.Cmd
}

func freePort() int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err) // no loopback: nothing can be measured
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// run starts a process of the system; its output goes to a file in dir.
func (s *system) run(dir, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	log, err := os.Create(filepath.Join(dir, fmt.Sprintf("%s-%d.log", filepath.Base(name), len(s.procs))))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	s.procs = append(s.procs, cmd)
	return nil
}

func (s *system) stop() {
	for _, p := range s.procs {
		_ = p.Process.Signal(syscall.SIGTERM) // it may have ended
	}
	for _, p := range s.procs {
		done := make(chan struct{})
		go func() { _ = p.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			_ = p.Process.Kill()
			<-done
		}
	}
}

// pids are its processes.
func (s *system) pids() (list []int) {
	for _, p := range s.procs {
		list = append(list, p.Process.Pid)
	}
	return list
}

func waitPort(addr string) error {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			return c.Close()
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("nothing listens on %s", addr)
}

func startMemcached(s *system, dir string) error {
	p := freePort()
	s.addr = fmt.Sprintf("127.0.0.1:%d", p)
	user := []string{}
	if os.Getuid() == 0 {
		user = []string{"-u", "nobody"}
	}
	if err := s.run(dir, "memcached", append(user, "-t", "2", "-m", "1024", "-l", "127.0.0.1", "-p", strconv.Itoa(p))...); err != nil {
		return err
	}
	return waitPort(s.addr)
}

func startRedis(s *system, dir string) error {
	p := freePort()
	s.addr = fmt.Sprintf("127.0.0.1:%d", p)
	if err := s.run(dir, "redis-server", "--bind", "127.0.0.1", "--port", strconv.Itoa(p), "--appendonly", "yes", "--save", "", "--dir", dir); err != nil {
		return err
	}
	return waitPort(s.addr)
}

// startKumofs starts a cluster of servers with a gateway; direct clients of one
// server need none.
func startKumofs(bin string, servers int, direct bool) func(*system, string) error {
	return func(s *system, dir string) error {
		manager := fmt.Sprintf("127.0.0.1:%d", freePort())
		if err := s.run(dir, filepath.Join(bin, "kumo-manager"), "-l", manager); err != nil {
			return err
		}
		s.addr = fmt.Sprintf("127.0.0.1:%d", freePort())
		for i := range servers {
			args := []string{"-m", manager, "-l", fmt.Sprintf("127.0.0.1:%d", freePort()), "-L", strconv.Itoa(freePort()), "-s", fmt.Sprintf("db%d", i)}
			if direct {
				args = append(args, "-t", s.addr)
			}
			if err := s.run(dir, filepath.Join(bin, "kumo-server"), args...); err != nil {
				return err
			}
		}
		if !direct {
			if err := s.run(dir, filepath.Join(bin, "kumo-gateway"), "-m", manager, "-t", s.addr); err != nil {
				return err
			}
		}
		if err := waitPort(manager); err != nil {
			return err
		}
		if out, err := exec.Command(filepath.Join(bin, "kumoctl"), manager, "attach", "--wait").CombinedOutput(); err != nil {
			return fmt.Errorf("kumoctl attach: %v: %s", err, out)
		}
		return waitPort(s.addr)
	}
}
