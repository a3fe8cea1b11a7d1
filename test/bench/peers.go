package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

func (r *run) memcached() (*system, error) {
	s, err := r.system("memcached -t 2", "text")
	if err != nil {
		return nil, err
	}
	p := freePort()
	argv := []string{"memcached", "-t", "2", "-m", "1024", "-l", "127.0.0.1", "-p", strconv.Itoa(p)}
	if os.Getuid() == 0 {
		argv = append(argv, "-u", "nobody")
	}
	if _, err := s.run(argv...); err != nil {
		return nil, err
	}
	s.Addrs = []string{fmt.Sprintf("127.0.0.1:%d", p)}
	return s, r.waitPort(s, s.Addrs...)
}

// redis starts one with its append-only file synced every second, as is its default
// with --appendonly, and asynchronous replicas that are the same.
func (r *run) redis(replicas int) (*system, error) {
	name := "redis-server, AOF"
	if replicas > 0 {
		name = fmt.Sprintf("redis-server, AOF, %d replicas", replicas)
	}
	s, err := r.system(name, "redis")
	if err != nil {
		return nil, err
	}
	first := 0
	for i := range 1 + replicas {
		dir := filepath.Join(s.dir, fmt.Sprintf("redis%d", i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, err
		}
		p := freePort()
		argv := []string{"redis-server", "--bind", "127.0.0.1", "--port", strconv.Itoa(p), "--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--repl-diskless-sync-delay", "0", "--dir", dir}
		if i == 0 {
			first = p
			s.Addrs = []string{fmt.Sprintf("127.0.0.1:%d", p)}
		} else {
			argv = append(argv, "--replicaof", fmt.Sprintf("127.0.0.1 %d", first))
		}
		if _, err := s.run(argv...); err != nil {
			return nil, err
		}
		if err := r.waitPort(s, fmt.Sprintf("127.0.0.1:%d", p)); err != nil {
			return nil, err
		}
	}
	return s, r.until(30*time.Second, func() error { return online(s.Addrs[0], replicas) })
}

// online is an error until a redis-server has so many replicas that follow it.
func online(addr string, replicas int) error {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte("INFO replication\r\n")); err != nil {
		return err
	}
	b := make([]byte, 8<<10)
	n, err := c.Read(b)
	if err != nil {
		return err
	}
	if got := bytes.Count(b[:n], []byte("state=online")); got != replicas {
		return fmt.Errorf("%d of %d replicas follow", got, replicas)
	}
	return nil
}

// version is the first word with a digit that a program says of itself.
func version(program string) string {
	out, err := exec.Command(program, "--version").Output()
	if err != nil {
		return program + ": " + err.Error()
	}
	for _, word := range strings.Fields(string(out)) {
		if word = strings.TrimPrefix(word, "v="); word != "" && word[0] >= '0' && word[0] <= '9' {
			return program + " " + word
		}
	}
	return program
}
