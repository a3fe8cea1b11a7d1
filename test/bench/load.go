package main

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"time"
)

// protocol writes requests and reads answers of one system.
type protocol struct {
	get  func(b []byte, key int) []byte
	set  func(b []byte, key int, value []byte) []byte
	read func(r *bufio.Reader, size int) error // one answer; size is the value's, -1 for a set
}

var memcached = protocol{
	get: func(b []byte, key int) []byte { return fmt.Appendf(b, "get key:%012d\r\n", key) },
	set: func(b []byte, key int, value []byte) []byte {
		b = fmt.Appendf(b, "set key:%012d 0 0 %d\r\n", key, len(value))
		return append(append(b, value...), "\r\n"...)
	},
	read: func(r *bufio.Reader, size int) error {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if size < 0 {
			if !bytes.HasPrefix(line, []byte("STORED")) {
				return fmt.Errorf("answer %q", line)
			}
			return nil
		}
		if !bytes.HasPrefix(line, []byte("VALUE ")) {
			return fmt.Errorf("answer %q", line)
		}
		_, err = r.Discard(size + len("\r\nEND\r\n"))
		return err
	},
}

var redis = protocol{
	get: func(b []byte, key int) []byte {
		return fmt.Appendf(b, "*2\r\n$3\r\nGET\r\n$16\r\nkey:%012d\r\n", key)
	},
	set: func(b []byte, key int, value []byte) []byte {
		b = fmt.Appendf(b, "*3\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n$%d\r\n", key, len(value))
		return append(append(b, value...), "\r\n"...)
	},
	read: func(r *bufio.Reader, size int) error {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if size < 0 {
			if !bytes.HasPrefix(line, []byte("+OK")) {
				return fmt.Errorf("answer %q", line)
			}
			return nil
		}
		if n, err := strconv.Atoi(string(bytes.TrimSpace(line[1:]))); err != nil || line[0] != '$' || n != size {
			return fmt.Errorf("answer %q", line)
		}
		_, err = r.Discard(size + 2)
		return err
	},
}

// job is one measurement: a fixed number of operations in a closed loop.
type job struct {
	addr     string
	proto    protocol
	set      bool
	ops      int
	conns    int
	pipeline int
	keys     int
	size     int
	ordered  bool // keys one after the other, to fill a store
}

type result struct {
	perSecond float64
	mean      time.Duration // of a pipeline's round trip
}

func (j *job) run() (result, error) {
	var wg sync.WaitGroup
	errs := make(chan error, j.conns)
	conns := make([]net.Conn, j.conns)
	for i := range conns {
		c, err := net.DialTimeout("tcp", j.addr, 5*time.Second)
		if err != nil {
			return result{}, err
		}
		defer c.Close()
		conns[i] = c
	}
	each := j.ops / j.conns / j.pipeline
	start := time.Now()
	for i, c := range conns {
		wg.Go(func() {
			if err := j.client(c, i, each); err != nil {
				errs <- err
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	select {
	case err := <-errs:
		return result{}, err
	default:
	}
	return result{
		perSecond: float64(each*j.conns*j.pipeline) / took.Seconds(),
		mean:      took / time.Duration(each),
	}, nil
}

func (j *job) client(c net.Conn, id, rounds int) error {
	rng := rand.New(rand.NewPCG(uint64(id), uint64(time.Now().UnixNano())))
	value := bytes.Repeat([]byte{'v'}, j.size)
	r := bufio.NewReaderSize(c, 64<<10)
	var b []byte
	next := id * rounds * j.pipeline
	for range rounds {
		b = b[:0]
		for range j.pipeline {
			key := rng.IntN(j.keys)
			if j.ordered {
				key = next % j.keys
				next++
			}
			if j.set {
				b = j.proto.set(b, key, value)
			} else {
				b = j.proto.get(b, key)
			}
		}
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		if _, err := c.Write(b); err != nil {
			return err
		}
		size := j.size
		if j.set {
			size = -1
		}
		for range j.pipeline {
			if err := j.proto.read(r, size); err != nil {
				return err
			}
		}
	}
	return nil
}
