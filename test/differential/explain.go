package differential

import (
	"math"
	"regexp"
	"strconv"
	"strings"
)

// Explained are the differences that are no faults. What matches is not compared.
// COMPATIBILITY.md tells of each.
var Explained = []struct {
	Name   string
	Match  *regexp.Regexp // in the text of one answer
	Put    string         // in its place
	Reason string
}{
	{"version", regexp.MustCompile(`^VERSION .*`), "VERSION",
		"each has its own"},
	{"statistics", regexp.MustCompile(`(?s)^STAT .*`), statLine,
		"which there are, if any, and what they say is each server's own; that they end is compared"},
	{"time of last access", regexp.MustCompile(`^((?:VA \d+|HD)(?: \S+)*) l\d+`), "$1 lTIME",
		"memcached moves it once a minute at most"},
	{"me", regexp.MustCompile(`^(ME \S+ exp=)-?\d+ la=\d+ cas=\d+ (fetch=\S+) cls=\d+ size=\d+`), "${1}TIME ... $2 ...",
		"the times are as above; memory and its classes are memcached's own"},
}

// explain takes out what is not compared, and lines of statistics: there may be none.
func (s *session) explain(units []unit) []unit {
	out := make([]unit, 0, len(units))
	for _, u := range units {
		for _, e := range Explained {
			if !mayMatch(u.text) {
				break
			}
			if e.Match.MatchString(u.text) {
				u.text = e.Match.ReplaceAllString(u.text, e.Put)
				s.explained[e.Name]++
			}
		}
		if u.text == statLine {
			continue
		}
		out = append(out, u)
	}
	return out
}

// mayMatch spares most answers the regular expressions.
func mayMatch(text string) bool {
	for _, word := range []string{"VERSION", "STAT ", "VA ", "HD ", "ME "} {
		if strings.HasPrefix(text, word) {
			return true
		}
	}
	return false
}

// tolerance is how far two clocks' ideas of an item's remaining time may be apart.
const tolerance = 3

// near tells whether two answers to a meta command are the same but for the remaining
// time, t, which runs while the commands are under way.
func (s *session) near(a, b string) bool {
	lineA, dataA, _ := strings.Cut(a, "\r\n")
	lineB, dataB, _ := strings.Cut(b, "\r\n")
	wordsA, wordsB := strings.Split(lineA, " "), strings.Split(lineB, " ")
	if dataA != dataB || len(wordsA) != len(wordsB) || wordsA[0] != "VA" && wordsA[0] != "HD" {
		return false
	}
	for i, w := range wordsA {
		if w == wordsB[i] {
			continue
		}
		x, okX := remaining(w)
		y, okY := remaining(wordsB[i])
		if !okX || !okY || x < 0 || y < 0 || x-y > tolerance || y-x > tolerance {
			return false
		}
	}
	s.explained["remaining time"]++
	return true
}

func remaining(word string) (seconds int, ok bool) {
	digits, ok := strings.CutPrefix(word, "t")
	if !ok {
		return 0, false
	}
	seconds, err := strconv.Atoi(digits)
	if seconds > math.MaxInt32 { // of a time that is past memcached tells modulo 2^32
		seconds = 0
	}
	return seconds, err == nil
}
