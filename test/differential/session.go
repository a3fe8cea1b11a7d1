package differential

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

const (
	reference = 0 // the memcached
	subject   = 1 // who should be as it is
)

// pair is one unique as both sides gave it.
type pair [2]uint64

// session is a dialogue with both sides, from an empty store on.
type session struct {
	addr  [2]string
	conns [2][2]*conn // of each side, text and binary
	limit time.Duration
	known map[string][]pair // of a key, oldest first
	// explained counts what was found and has a reason, by the reason's name.
	explained map[string]int
	answers   map[string]int // of the reference, by kind
}

func newSession(ref, sub string, limit time.Duration) *session {
	return &session{addr: [2]string{ref, sub}, limit: limit, known: map[string][]pair{}, explained: map[string]int{}, answers: map[string]int{}}
}

func (s *session) close() {
	for side := range s.conns {
		for i, c := range s.conns[side] {
			if c != nil {
				c.Close()
			}
			s.conns[side][i] = nil
		}
	}
}

func (s *session) unique(key string, back, side int) uint64 {
	list := s.known[key]
	if back > len(list) {
		return noUnique
	}
	return list[len(list)-back][side]
}

type conn struct {
	net.Conn
	r *bufio.Reader
}

func (s *session) conn(side int, binary bool) (*conn, error) {
	i := 0
	if binary {
		i = 1
	}
	if s.conns[side][i] == nil {
		c, err := net.DialTimeout("tcp", s.addr[side], s.limit)
		if err != nil {
			return nil, err
		}
		s.conns[side][i] = &conn{c, bufio.NewReaderSize(c, 64<<10)}
	}
	return s.conns[side][i], nil
}

// reset empties both sides and forgets what was known of them.
func (s *session) reset() error {
	s.known = map[string][]pair{}
	flush := batch{{pieces: []piece{{text: "flush_all\r\n"}}}}
	for side := range s.addr {
		if s.addr[side] == "" {
			continue
		}
		a := s.ask(side, flush)
		if a.err != nil {
			return a.err
		}
		if len(a.units) != 1 || a.units[0].text != "OK" {
			return fmt.Errorf("flush_all is answered %q by %s", a, s.addr[side])
		}
	}
	return nil
}

// The end of a batch on a text connection: a line that a bad body may eat, and a
// command whose answer is nowhere else.
const (
	endKey  = "end-of-the-batch"
	textEnd = "version\r\nset " + endKey + " 0 0 1\r\nx\r\nget " + endKey + "\r\n"
)

// unit is one answer, or one VALUE of it.
type unit struct {
	text   string // without its CR LF, with its data
	key    string // whose unique is in it
	unique uint64
	opaque string
}

// kind is what sort of answer it is, to count them by.
func (u unit) kind(binary bool) string {
	line, _, _ := strings.Cut(u.text, "\r\n")
	words := strings.Fields(line)
	switch {
	case binary && len(words) > 9:
		return "binary " + words[1] + " status " + words[9]
	case len(words) == 0:
		return "empty"
	case strings.HasSuffix(words[0], "_ERROR"):
		return line
	case words[0][0] >= '0' && words[0][0] <= '9':
		return "number"
	}
	return words[0]
}

// answer is what a side said to a batch.
type answer struct {
	units  []unit
	closed bool // it closed the connection
	err    error
}

func (a answer) String() string {
	var b strings.Builder
	for _, u := range a.units {
		fmt.Fprintf(&b, "  %.200q\n", u.text)
	}
	if a.closed {
		b.WriteString("  (closed)\n")
	}
	if a.err != nil {
		fmt.Fprintf(&b, "  (%v)\n", a.err)
	}
	return b.String()
}

// ask sends a batch to a side and gives its whole answer.
func (s *session) ask(side int, b batch) (a answer) {
	c, err := s.conn(side, b.binary())
	if err != nil {
		a.err = err
		return a
	}
	drop := func() {
		c.Close()
		if b.binary() {
			s.conns[side][1] = nil
		} else {
			s.conns[side][0] = nil
		}
	}
	var out []byte
	for _, cmd := range b {
		out = append(out, cmd.bytes(s, side)...)
	}
	limit := s.limit
	if b.closes() {
		// One that does not close as it should is told by its silence.
		limit = min(limit, 3*time.Second)
	} else if b.binary() {
		out = append(out, packet{op: opNoop, opaque: endOfBatch}.pieces()[0].text...)
	} else {
		out = append(out, textEnd...)
	}
	c.SetDeadline(time.Now().Add(limit))
	// While it answers: neither must wait for the other with all buffers full.
	written := make(chan struct{})
	go func() {
		c.Write(out)
		close(written)
	}()
	defer func() { <-written }()
	read := readText
	if b.binary() {
		read = readBinary
	}
	for {
		u, end, err := read(c.r)
		var timeout net.Error
		switch {
		case end:
			if !b.binary() {
				// What the sacrificed line and the set were answered.
				a.units = a.units[:max(0, len(a.units)-2)]
			}
			return a
		case err == nil:
			a.units = append(a.units, u)
			if len(a.units) < 100000 {
				continue
			}
			a.err = errors.New("an answer without an end")
		case b.closes() && errors.As(err, &timeout) && timeout.Timeout():
		case errors.As(err, &timeout) && timeout.Timeout():
			a.err = fmt.Errorf("no answer within %v", limit)
		case errors.Is(err, errFrame):
			a.err = err
		default:
			a.closed = true
		}
		drop()
		return a
	}
}

var errFrame = errors.New("not the protocol")

// readText reads one line of an answer, with the data that it announces.
func readText(r *bufio.Reader) (u unit, end bool, err error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return u, false, err
	}
	line, ok := strings.CutSuffix(line, "\r\n")
	if !ok {
		return u, false, fmt.Errorf("%w: the line %.200q ends in LF alone", errFrame, line)
	}
	words := strings.Split(line, " ")
	size := -1
	switch {
	case words[0] == "VALUE" && len(words) >= 4 && len(words) <= 5:
		if size, err = strconv.Atoi(words[3]); err != nil {
			return u, false, fmt.Errorf("%w: %.200q", errFrame, line)
		}
		if len(words) == 5 {
			if u.unique, err = strconv.ParseUint(words[4], 10, 64); err != nil {
				return u, false, fmt.Errorf("%w: %.200q", errFrame, line)
			}
			u.key = words[1]
			line = strings.Join(words[:4], " ") + " UNIQUE"
		}
	case words[0] == "VA" && len(words) >= 2:
		if size, err = strconv.Atoi(words[1]); err != nil {
			return u, false, fmt.Errorf("%w: %.200q", errFrame, line)
		}
		line = u.meta(words, 2)
	case words[0] == "HD":
		line = u.meta(words, 1)
	}
	u.text = line
	if size >= 0 {
		data := make([]byte, size+2)
		if _, err := io.ReadFull(r, data); err != nil {
			return u, false, err
		}
		if string(data[size:]) != "\r\n" {
			return u, false, fmt.Errorf("%w: the data of %.200q ends in %q", errFrame, line, data[size:])
		}
		u.text += "\r\n" + string(data[:size])
		if words[0] == "VALUE" && words[1] == endKey {
			if end, err := r.ReadString('\n'); err != nil || end != "END\r\n" {
				return u, false, fmt.Errorf("%w: %q where END should be", errFrame, end)
			}
			return u, true, nil
		}
	}
	return u, false, nil
}

// meta takes the unique out of the flags of a meta answer.
func (u *unit) meta(words []string, first int) string {
	for i := first; i < len(words); i++ {
		switch {
		case strings.HasPrefix(words[i], "c"):
			if n, err := strconv.ParseUint(words[i][1:], 10, 64); err == nil {
				u.unique = n
				words[i] = "cUNIQUE"
			}
		case strings.HasPrefix(words[i], "O"):
			u.opaque = words[i][1:]
		}
	}
	return strings.Join(words, " ")
}

// readBinary reads one answer.
func readBinary(r *bufio.Reader) (u unit, end bool, err error) {
	var h [headerLen]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return u, false, err
	}
	if h[0] != magicOut {
		return u, false, fmt.Errorf("%w: %q where an answer should begin", errFrame, h[:])
	}
	size := binary.BigEndian.Uint32(h[8:])
	if size > 64<<20 {
		return u, false, fmt.Errorf("%w: a body of %d bytes", errFrame, size)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return u, false, err
	}
	opaque := binary.BigEndian.Uint32(h[12:])
	u.opaque = strconv.FormatUint(uint64(opaque), 10)
	u.unique = binary.BigEndian.Uint64(h[16:])
	name := ""
	if u.unique != 0 {
		name = " UNIQUE"
	}
	if h[1] == opVersion && h[7] == 0 {
		body = []byte("VERSION")
	}
	u.text = fmt.Sprintf("op %#02x key %d extras %d type %d status %d opaque %d%s %s", h[1], binary.BigEndian.Uint16(h[2:]), h[4], h[5],
		binary.BigEndian.Uint16(h[6:]), opaque, name, body)
	if h[1] == opStat && h[7] == 0 && size > 0 {
		u.text = statLine
	}
	return u, h[1] == opNoop && opaque == endOfBatch, nil
}

// statLine stands for a line of statistics.
const statLine = "(statistics)"

// try puts a batch to both sides; difference is "" where they agree.
func (s *session) try(b batch) (difference string) {
	var answers [2]answer
	if s.addr[reference] == "" {
		answers[reference] = s.ask(subject, b)
		answers[subject] = answers[reference]
		// A command that closes need not be told apart: that is compared elsewhere.
		if a := answers[subject]; a.closed && !b.closes() {
			return fmt.Sprintf("closed:\n%v", a)
		}
		if what := s.compare(b, &answers); what != "" {
			return fmt.Sprintf("%s\nanswered:\n%v", what, answers[subject])
		}
		return ""
	}
	done := make(chan struct{})
	go func() {
		answers[subject] = s.ask(subject, b)
		close(done)
	}()
	answers[reference] = s.ask(reference, b)
	<-done
	if b.closes() || answers[reference].closed || answers[subject].closed {
		// The next batch of the protocol begins on new connections of both.
		i := 0
		if b.binary() {
			i = 1
		}
		for side := range s.conns {
			if c := s.conns[side][i]; c != nil {
				c.Close()
				s.conns[side][i] = nil
			}
		}
	}
	if what := s.compare(b, &answers); what != "" {
		return fmt.Sprintf("%s\nreference:\n%vsubject:\n%v", what, answers[reference], answers[subject])
	}
	return ""
}

func (s *session) compare(b batch, answers *[2]answer) string {
	ref, sub := s.explain(answers[reference].units), s.explain(answers[subject].units)
	for _, u := range ref {
		s.answers[u.kind(b.binary())]++
	}
	for i := range max(len(ref), len(sub)) {
		var u, v unit
		if i < len(ref) {
			u = ref[i]
		}
		if i < len(sub) {
			v = sub[i]
		}
		if u.text != v.text && !s.near(u.text, v.text) {
			return fmt.Sprintf("answer %d is %.300q, should be %.300q", i+1, v.text, u.text)
		}
		if what := s.learn(b, u, v); what != "" {
			return fmt.Sprintf("answer %d, %.100q: %s", i+1, v.text, what)
		}
	}
	a, z := answers[reference], answers[subject]
	switch {
	case a.closed != z.closed:
		return fmt.Sprintf("closed: %v, should be %v", z.closed, a.closed)
	case a.err != nil:
		return "the reference: " + a.err.Error()
	case z.err != nil:
		return z.err.Error()
	}
	return ""
}

// learn remembers the unique that both gave to a key. The item was changed between
// two of one side exactly if it was between those of the other.
func (s *session) learn(b batch, u, v unit) string {
	if u.unique == 0 || v.unique == 0 {
		return ""
	}
	key := u.key
	for _, c := range b {
		if key == "" && u.opaque != "" && c.opaque == u.opaque {
			key = c.key
		}
	}
	if key == "" {
		return "" // a meta command without opaque
	}
	list := s.known[key]
	for i := len(list) - 1; i >= 0; i-- {
		p := list[i]
		if (p[reference] == u.unique) != (p[subject] == v.unique) {
			return fmt.Sprintf("the unique of %.20q was %d and is %d; of the reference, %d and %d", key, p[subject], v.unique, p[reference], u.unique)
		}
		if p[reference] == u.unique {
			return ""
		}
	}
	if len(list) >= 16 {
		list = list[1:]
	}
	s.known[key] = append(list, pair{u.unique, v.unique})
	return ""
}
