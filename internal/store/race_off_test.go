//go:build !race

package store

// raceDetector: everything is some ten times slower.
const raceDetector = false
