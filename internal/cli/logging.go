package cli

import (
	"io"
	"log/slog"
	"os"
	"sync"
)

// LogOptions say what is logged, and where the log goes.
type LogOptions struct {
	Verbose   bool   // events too, not only warnings and errors
	Level     string // --log-level; "": by Verbose
	JSONLines bool   // --log-format json: on the standard streams and in File
	File      string // -o; "" and "-" are standard output
	JSON      string // -g
	Stdout    io.Writer
	Stderr    io.Writer
}

// LogFiles are the files that a logger appends to.
type LogFiles struct {
	mu      sync.Mutex
	files   []*logFile
	unwatch func() // ends the watch of SIGHUP; nil: there is none
	// only logs to the files alone: what standard error is told in plain words.
	only *slog.Logger
	// reopened is called after the files were opened anew.
	reopened func()
	// Level is that of the log.
	Level *LogLevel
}

// SetupLogging makes a daemon's logger.
//
// Warnings and errors go to standard error, events, if the level lets them, to
// standard output. With a File what is said goes to it instead of standard
// output, warnings too. The JSON file has everything whether Verbose or not.
// SIGHUP opens the files anew, for programs that rotate logs, and returns to the level that
// the options ask for; where there is no file, and standard input is a terminal, SIGHUP ends the process.
func SetupLogging(o LogOptions) (*slog.Logger, *LogFiles, error) {
	if o.Stdout == nil {
		o.Stdout = os.Stdout
	}
	if o.Stderr == nil {
		o.Stderr = os.Stderr
	}
	least := slog.LevelWarn
	if o.Verbose {
		least = slog.LevelInfo
	}
	if o.Level != "" {
		least = logLevels[o.Level]
	}
	level := newLogLevel(least)
	files := &LogFiles{Level: level}
	lines := func(out io.Writer, min slog.Leveler, max slog.Level) slog.Handler {
		if o.JSONLines {
			return upTo{slog.NewJSONHandler(out, &slog.HandlerOptions{Level: min}), max}
		}
		return newHuman(out, min, max)
	}
	toStreams := []slog.Handler{lines(o.Stderr, orHigher{level, slog.LevelWarn}, highest)}
	var toFiles []slog.Handler
	if o.File != "" && o.File != "-" {
		file, err := files.open(o.File)
		if err != nil {
			return nil, nil, err
		}
		toFiles = append(toFiles, lines(file, level, highest))
	} else {
		toStreams = append(toStreams, lines(o.Stdout, level, slog.LevelWarn-1))
	}
	if o.JSON != "" {
		file, err := files.open(o.JSON)
		if err != nil {
			files.Close()
			return nil, nil, err
		}
		toFiles = append(toFiles, slog.NewJSONHandler(file, &slog.HandlerOptions{Level: orLower{level, slog.LevelInfo}}))
	}
	if len(files.files) > 0 || !isTerminal() {
		files.watch()
	}
	files.only = slog.New(slog.NewMultiHandler(toFiles...))
	return slog.New(slog.NewMultiHandler(append(toStreams, toFiles...)...)), files, nil
}

// highest is above every level in use.
const highest = slog.LevelError + 4

// open opens one log file for appending.
func (l *LogFiles) open(path string) (*logFile, error) {
	file := &logFile{path: path}
	if err := file.reopen(); err != nil {
		return nil, err
	}
	l.files = append(l.files, file)
	return file, nil
}

// watch opens the files anew at each SIGHUP, and resets the level.
func (l *LogFiles) watch() {
	l.unwatch = onHangup(func() {
		l.Level.Reset()
		l.Reopen()
	})
}

// Reopen opens the files anew. A file that cannot be opened is gone on with
// under its old name, so that nothing is lost.
func (l *LogFiles) Reopen() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, file := range l.files {
		if err := file.reopen(); err != nil {
			slog.New(newHuman(file, slog.LevelWarn, slog.LevelError)).Error("cannot reopen the log", "error", err)
		}
	}
	if l.reopened != nil {
		l.reopened()
	}
}

// Close closes the files and stops listening to SIGHUP.
func (l *LogFiles) Close() {
	if l.unwatch != nil {
		l.unwatch()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, file := range l.files {
		file.close()
	}
}

// logFile is a file that can be opened anew while others write to it.
type logFile struct {
	path string
	mu   sync.Mutex
	file *os.File
}

// Write appends one line.
func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Write(p)
}

func (l *logFile) reopen() error {
	file, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		l.file.Close()
	}
	l.file = file
	return nil
}

func (l *logFile) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.file.Close()
}

// fd is the file's descriptor, valid until the next reopen.
func (l *logFile) fd() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int(l.file.Fd())
}
