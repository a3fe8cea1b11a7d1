package memproto

import "bytes"

// nextToken cuts the next word off a line: spaces, and only they, are between
// words. The word is empty at the end of the line.
func nextToken(line []byte) (word, rest []byte) {
	for len(line) > 0 && line[0] == ' ' {
		line = line[1:]
	}
	if i := bytes.IndexByte(line, ' '); i >= 0 {
		return line[:i], line[i:]
	}
	return line, nil
}

// maxTokens is more than any command has that is not a list of keys.
const maxTokens = 8

// tokens are the words of a line after its first.
type tokens struct {
	word [maxTokens][]byte
	n    int // how many, maxTokens if there are as many or more
}

// tokenize cuts line into words.
func (t *tokens) tokenize(line []byte) {
	for t.n = 0; t.n < maxTokens; t.n++ {
		t.word[t.n], line = nextToken(line)
		if len(t.word[t.n]) == 0 {
			return
		}
	}
}

// noReply tells whether the last word is "noreply".
func (t *tokens) noReply() bool {
	return t.n > 0 && string(t.word[t.n-1]) == "noreply"
}

// validKey tells whether a word may be a key: 1 to 250 bytes, no control
// characters. (memcached takes those except NUL and newline; its protocol text
// does not.)
func validKey(key []byte) bool {
	if len(key) == 0 || len(key) > MaxKey {
		return false
	}
	for _, c := range key {
		if c <= ' ' || c == 0x7f {
			return false
		}
	}
	return true
}
