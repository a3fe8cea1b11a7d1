// Package ownfile reads files that nobody but their owner should be able to read.
package ownfile

import (
	"fmt"
	"io"
	"log/slog"
	"os"
)

// Read reads the file at path, of most bytes at most, and gives what parse makes of
// it. what is in it is said in errors, none of which quotes it, and in a warning to
// log, if that is not nil, where others can read the file.
func Read[T any](path, what string, most int, log *slog.Logger, parse func(text []byte) (T, error)) (T, error) {
	var none T
	f, err := os.Open(path)
	if err != nil {
		return none, fmt.Errorf("cannot read %s: %w", what, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	if err != nil {
		return none, fmt.Errorf("cannot read %s: %w", what, err)
	}
	if len(text) > most {
		return none, fmt.Errorf("%s in %s: it is longer than %d bytes", what, path, most)
	}
	v, err := parse(text)
	if err != nil {
		return none, fmt.Errorf("%s in %s: %w", what, path, err)
	}
	if info, err := f.Stat(); err == nil && info.Mode().Perm()&0o007 != 0 && log != nil {
		log.Warn(fmt.Sprintf("others on this machine may read or write %s: chmod 600 %s", what, path))
	}
	return v, nil
}
