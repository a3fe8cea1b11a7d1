// Package frontend serves memcached clients on an event loop: it cuts their
// bytes into commands (internal/memproto), gives those to a Router, and answers
// strictly in the order asked, however deep a client pipelines.
//
//   - frontend.go: the listening side, options, counters
//   - client.go: one connection and when it is read
//   - command.go: what each command asks of the router
//   - admit.go: who has to authenticate
//   - slot.go: one place in a connection's queue of answers
//   - stats.go: what stats shows
//   - measure.go: how long commands take
//
// Like its Router a Frontend belongs to one loop and has no locks.
package frontend
