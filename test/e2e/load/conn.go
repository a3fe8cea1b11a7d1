// Package load puts a memcached service under load from many clients, records
// what each was told, and afterwards judges whether that can be true of one
// linearizable store that loses nothing.
package load

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// Kind of an operation.
type Kind uint8

// The kinds.
const (
	Get Kind = iota // gets: with the unique
	Set
	Add
	Append
	CAS
	Incr
	Delete
	Replace
	Prepend
	Decr
	Touch
	GetTouch // gats
	FlushAll // on every key
	expire   // never sent: what an exptime does to a key in its time
)

var kindNames = [...]string{"get", "set", "add", "append", "cas", "incr", "delete", "replace", "prepend", "decr", "touch", "gats", "flush_all", "expiry"}

func (k Kind) String() string { return kindNames[k] }

// Op is one command on one key.
type Op struct {
	Kind  Kind
	Key   string
	Value string
	// Unique is the token of a CAS, and Expect the value that it was read with.
	Unique uint64
	Expect string
	// Exptime is in seconds from now; 0 is never. Tag tells it from all others.
	Exptime int
	Tag     int64
}

// Status is how a command ended.
type Status uint8

// The statuses.
const (
	Done    Status = iota // hit, STORED, DELETED, TOUCHED, OK, a number
	Missing               // miss, NOT_FOUND
	Refused               // NOT_STORED, EXISTS
	Unknown               // it may or may not have been done
	Failed                // an error that says it was not done
)

var statusNames = [...]string{"done", "missing", "refused", "UNKNOWN", "FAILED"}

func (s Status) String() string { return statusNames[s] }

// Result of an Op. Value is what a get found, or incr's new number.
type Result struct {
	Status Status
	Value  string
	Unique uint64
	Error  string // Unknown and Failed: why
}

// Conn is one connection of a memcached client, in text if Speak says nothing else.
type Conn struct {
	addr    string
	timeout time.Duration
	c       net.Conn
	r       *bufio.Reader

	protocol Protocol
}

// Dial connects. timeout bounds each answer's coming.
func Dial(addr string, timeout time.Duration) (*Conn, error) {
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	return &Conn{addr: addr, timeout: timeout, c: c, r: bufio.NewReaderSize(c, 64<<10)}, nil
}

// Close closes it.
func (c *Conn) Close() { c.c.Close() }

// AppendOp is op as it goes over the wire.
func AppendOp(b []byte, op *Op) []byte {
	switch op.Kind {
	case Get:
		return append(append(append(b, "gets "...), op.Key...), "\r\n"...)
	case Delete:
		return append(append(append(b, "delete "...), op.Key...), "\r\n"...)
	case Incr, Decr:
		return fmt.Appendf(b, "%s %s 1\r\n", op.Kind, op.Key)
	case Touch:
		return fmt.Appendf(b, "touch %s %d\r\n", op.Key, op.Exptime)
	case GetTouch:
		return fmt.Appendf(b, "gats %d %s\r\n", op.Exptime, op.Key)
	case FlushAll:
		return append(b, "flush_all\r\n"...)
	}
	b = fmt.Appendf(b, "%s %s 0 %d %d", op.Kind, op.Key, op.Exptime, len(op.Value))
	if op.Kind == CAS {
		b = strconv.AppendUint(append(b, ' '), op.Unique, 10)
	}
	return append(append(append(b, "\r\n"...), op.Value...), "\r\n"...)
}

// Send sends commands without waiting for answers.
func (c *Conn) Send(b []byte) error {
	c.c.SetWriteDeadline(time.Now().Add(c.timeout))
	_, err := c.c.Write(b)
	return err
}

// Do sends op and reads its answer. After an error the connection is of no more use.
func (c *Conn) Do(op *Op) (Result, error) {
	wired := *op
	wired.Value = onWire(op.Value)
	r, err := c.do(&wired)
	r.Value = offWire(r.Value)
	return r, err
}

func (c *Conn) do(op *Op) (Result, error) {
	if c.protocol == Binary || c.protocol == Meta && op.Kind != FlushAll {
		return c.doOther(op)
	}
	if err := c.Send(AppendOp(nil, op)); err != nil {
		return Result{}, err
	}
	return c.Read(op)
}

func (c *Conn) line() (string, error) {
	s, err := c.r.ReadString('\n')
	if err != nil {
		return "", err
	}
	if !strings.HasSuffix(s, "\r\n") {
		return "", fmt.Errorf("bad line %q", s)
	}
	return s[:len(s)-2], nil
}

// errorLine is the result of an answer that is none.
func errorLine(line string) Result {
	if strings.HasPrefix(line, "SERVER_ERROR outcome unknown") {
		return Result{Status: Unknown, Error: line}
	}
	return Result{Status: Failed, Error: line}
}

// Read reads the answer to op.
func (c *Conn) Read(op *Op) (Result, error) {
	if op.Kind == Get || op.Kind == GetTouch {
		found, res, err := c.values()
		if err != nil || res.Error != "" {
			return res, err
		}
		if v, ok := found[op.Key]; ok {
			return v, nil
		}
		return Result{Status: Missing}, nil
	}
	c.c.SetReadDeadline(time.Now().Add(c.timeout))
	line, err := c.line()
	if err != nil {
		return Result{}, err
	}
	switch line {
	case "STORED", "DELETED", "TOUCHED", "OK":
		return Result{Status: Done}, nil
	case "NOT_FOUND":
		return Result{Status: Missing}, nil
	case "NOT_STORED", "EXISTS":
		return Result{Status: Refused}, nil
	}
	if _, err := strconv.ParseUint(line, 10, 64); (op.Kind == Incr || op.Kind == Decr) && err == nil {
		return Result{Status: Done, Value: line}, nil
	}
	return errorLine(line), nil
}

// MultiGet asks for several keys in one command. What is not in found is a miss;
// res.Error is set when the whole failed.
func (c *Conn) MultiGet(keys []string) (found map[string]Result, res Result, err error) {
	found, res, err = c.multiGet(keys)
	for k, r := range found {
		if v := offWire(r.Value); len(v) != len(r.Value) {
			r.Value = v
			found[k] = r
		}
	}
	return found, res, err
}

func (c *Conn) multiGet(keys []string) (found map[string]Result, res Result, err error) {
	if c.protocol != Text {
		return c.multiGetOther(keys)
	}
	if err := c.Send([]byte("gets " + strings.Join(keys, " ") + "\r\n")); err != nil {
		return nil, Result{}, err
	}
	return c.values()
}

func (c *Conn) values() (found map[string]Result, res Result, err error) {
	c.c.SetReadDeadline(time.Now().Add(c.timeout))
	found = map[string]Result{}
	for {
		line, err := c.line()
		if err != nil {
			return nil, Result{}, err
		}
		if line == "END" {
			return found, Result{}, nil
		}
		if !strings.HasPrefix(line, "VALUE ") {
			return nil, errorLine(line), nil
		}
		f := strings.Split(line, " ")
		if len(f) != 5 {
			return nil, Result{}, fmt.Errorf("bad line %q", line)
		}
		n, err1 := strconv.Atoi(f[3])
		unique, err2 := strconv.ParseUint(f[4], 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, Result{}, fmt.Errorf("bad line %q", line)
		}
		b := make([]byte, n+2)
		for have := 0; have < len(b); {
			m, err := c.r.Read(b[have:])
			if err != nil {
				return nil, Result{}, err
			}
			have += m
		}
		if string(b[n:]) != "\r\n" {
			return nil, Result{}, fmt.Errorf("no line end after the value of %s", f[1])
		}
		found[f[1]] = Result{Status: Done, Value: string(b[:n]), Unique: unique}
	}
}

// Pipeline sends ops on one connection without waiting and gives their answers
// in order. An error cuts the answers short.
func Pipeline(addr string, ops []Op, timeout time.Duration, each func(i int, r Result)) error {
	c, err := Dial(addr, timeout)
	if err != nil {
		return err
	}
	defer c.Close()
	sent := make(chan error, 1)
	go func() {
		var b []byte
		for i := range ops {
			b = AppendOp(b, &ops[i])
			if len(b) > 16<<10 || i == len(ops)-1 {
				if err := c.Send(b); err != nil {
					sent <- err
					return
				}
				b = b[:0]
			}
		}
		sent <- nil
	}()
	for i := range ops {
		r, err := c.Read(&ops[i])
		if err != nil {
			c.Close()
			<-sent
			return fmt.Errorf("answer %d of %d: %w", i+1, len(ops), err)
		}
		each(i, r)
	}
	return <-sent
}
