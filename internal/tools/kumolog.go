package tools

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/kumofs/kumofs/internal/cli"
)

// followInterval is how often -f looks for more.
const followInterval = 200 * time.Millisecond

// logPrinter prints the lines of one log that pass the filter.
type logPrinter struct {
	out  io.Writer
	min  slog.Level
	grep string
	json bool
	// Of the lines that a file has only the first or last so many are printed; 0
	// is all.
	first, last int
	printed     int
	held        []string
}

// Kumolog is the program kumolog.
func Kumolog(ctx context.Context, args []string, out io.Writer) error {
	f := cli.NewFlags("kumolog", "[flags] FILE...")
	f.About("Prints what a daemon logged with -g. FILE - is standard input.")
	follow := f.Bool("f", "follow", "go on with what is added, also when the file is rotated")
	level := f.String("l", "level", "LEVEL", "info", "only this and above: info, warn, error")
	grep := f.String("e", "event", "TEXT", "", "only events whose message has this in it")
	lines := f.Int("n", "lines", "N", 0, 0, 1<<30, "only the last N events of each file; 0 is all")
	tail := f.Bool("t", "tail", "only the last 10 events, or -n N")
	head := f.Bool("", "head", "only the first 10 events, or -n N")
	asJSON := f.Bool("", "json", "print the JSON lines as they are")
	if err := f.Parse(args, out); err != nil {
		return err
	}
	if (*tail || *head) && !f.Given("lines") {
		*lines = 10
	}
	p := logPrinter{out: out, grep: *grep, json: *asJSON}
	if *head {
		p.first = *lines
	} else {
		p.last = *lines
	}
	if err := p.min.UnmarshalText([]byte(*level)); err != nil {
		return f.UsageError("%s", f.BadValue("level", *level, errors.New("must be debug, info, warn or error")))
	}
	if len(f.Args()) == 0 {
		return f.UsageError("needs a file")
	}
	if *follow && (*head || len(f.Args()) > 1) {
		return f.UsageError("-f follows the end of one file")
	}
	for _, path := range f.Args() {
		if err := p.file(ctx, path, *follow); err != nil {
			return err
		}
	}
	return nil
}

// file prints one file.
func (p *logPrinter) file(ctx context.Context, path string, follow bool) error {
	if path == "-" {
		rest, err := p.lines(bufio.NewReader(os.Stdin), nil)
		p.line(rest)
		p.release()
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { file.Close() }()
	r := bufio.NewReader(file)
	rest, err := p.lines(r, nil)
	whole := err != nil || !follow // what there is of a last line is all that will come
	if whole {
		p.line(rest)
	}
	p.release()
	if whole {
		return err
	}
	p.last = 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followInterval):
		}
		if rest, err = p.lines(r, rest); err != nil {
			return err
		}
		next, err := reopened(path, file)
		if err != nil {
			return err
		}
		if next != nil {
			// What was written to the old file just before it was moved away.
			if _, err := p.lines(r, rest); err != nil {
				next.Close()
				return err
			}
			file.Close()
			file, r, rest = next, bufio.NewReader(next), nil
		}
	}
}

// reopened opens the path again if it is another file by now or was cut short.
func reopened(path string, file *os.File) (*os.File, error) {
	there, err := os.Stat(path)
	if err != nil {
		return nil, nil // between the two steps of a rotation
	}
	here, err := file.Stat()
	if err != nil {
		return nil, err
	}
	at, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, err
	}
	if os.SameFile(here, there) && there.Size() >= at {
		return nil, nil
	}
	next, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return next, err
}

// lines prints whole lines until the end; begun is what was read of the first
// one, and what is returned belongs to a line that is not yet whole.
func (p *logPrinter) lines(r *bufio.Reader, begun []byte) ([]byte, error) {
	for {
		part, err := r.ReadBytes('\n')
		begun = append(begun, part...)
		if errors.Is(err, io.EOF) {
			return begun, nil
		}
		if err != nil {
			return nil, err
		}
		p.line(begun)
		begun = nil
	}
}

// line prints one line if it passes the filter. What is no event of ours (a
// panic's trace, say) is printed as it is.
func (p *logPrinter) line(line []byte) {
	line = bytes.TrimRight(line, "\r\n")
	if len(line) == 0 {
		return
	}
	event, err := parseEvent(line)
	if err == nil && (event.level < p.min || !strings.Contains(event.message, p.grep)) {
		return
	}
	text := string(line)
	if err == nil && !p.json {
		text = event.String()
	}
	if p.last == 0 {
		if p.printed++; p.first == 0 || p.printed <= p.first {
			fmt.Fprintln(p.out, text)
		}
		return
	}
	p.held = append(p.held, text)
	if len(p.held) >= 2*p.last {
		p.held = append(p.held[:0], p.held[len(p.held)-p.last:]...)
	}
}

// release prints what -n held back.
func (p *logPrinter) release() {
	for _, text := range p.held[max(0, len(p.held)-p.last):] {
		fmt.Fprintln(p.out, text)
	}
	p.held, p.printed = nil, 0
}

// event is one line of a -g log.
type event struct {
	time    time.Time
	level   slog.Level
	message string
	attrs   []string // name=value, in the order of the log
}

// String is the event in the form of the daemons' own log.
func (e *event) String() string {
	head := e.time.Local().Format(cli.LogTime) + " " + e.level.String() + " " + e.message
	return strings.Join(append([]string{head}, e.attrs...), " ")
}

// parseEvent reads an event token by token, so that the order is kept.
func parseEvent(line []byte) (*event, error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("not an event")
	}
	e := &event{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, err
		}
		switch name {
		case slog.TimeKey:
			err = json.Unmarshal(raw, &e.time)
		case slog.LevelKey:
			err = json.Unmarshal(raw, &e.level)
		case slog.MessageKey:
			err = json.Unmarshal(raw, &e.message)
		default:
			e.attrs = append(e.attrs, fmt.Sprintf("%s=%s", name, attrText(raw)))
		}
		if err != nil {
			return nil, err
		}
	}
	return e, nil
}

// attrText is an attribute's value in the form of the daemons' own log.
func attrText(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return cli.Quote(s)
	}
	return string(raw)
}
