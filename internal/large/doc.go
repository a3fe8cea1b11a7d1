// Package large moves the values that lie in chunks (package item, large.go) over a
// router: Upload stores one piece by piece, Download reads one. Each holds a few
// chunks at a time, whatever the value's size. Everything is called on the
// router's loop.
package large
