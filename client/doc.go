// Package client talks to a kumofs cluster from Go, without a gateway between.
//
// A Client follows the managers' map of the cluster, as a gateway does, and sends
// each command straight to the server that is primary of its key. It sees commands
// through crashes, restarts and moves of servers: a write is tried again until it is
// answered, and is done exactly once however often it was sent. So a crash of a
// server is a pause of about half a second, not an error.
//
//	c, err := client.Open(ctx, client.Options{Managers: []string{"svr1", "svr2"}})
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//
//	err = c.Set(ctx, &client.Item{Key: "greeting", Value: []byte("hello")})
//	it, err := c.Get(ctx, "greeting")
//
// One Client is enough for a program: it may be used by any number of goroutines
// at once, and commands of many travel together. It keeps one connection to each
// server, one to a manager and a few goroutines, which all end with Close.
//
// # Time
//
// Every call ends when its context does, at once, or when Options.Timeout is over
// since it was begun; a value above 1 MiB goes in parts, each with its own time.
// A call that ends without an answer says what that means:
//
//   - ErrOutcomeUnknown: a write may have been done, or may be done yet. Read, then
//     decide; only what may be done twice may be repeated blindly.
//   - Any other error: it was not done and will not be. That includes
//     context.Canceled, context.DeadlineExceeded and ErrUnavailable.
//
// # Errors
//
// Test them with errors.Is. What a command found is an error of its own kind:
// ErrNotFound, ErrNotStored, ErrExists, ErrNotNumber, ErrTooLarge, ErrBadKey. What
// went wrong is ErrOutcomeUnknown, ErrUnavailable or ErrClosed.
//
// # Promises
//
// Each command on a key takes effect once, at one instant between call and return:
// the store is linearizable per key. Nothing is promised about the order of
// different keys. Scan says what a scan promises.
//
// # Memory
//
// Keys and values that are under way are bounded by Options.MaxInFlight together:
// beyond it calls wait, as long as their contexts let them. What calls return belongs
// to their callers; what is given to them is not kept when they have returned.
//
// Memcached clients see the same items through a gateway, provided that keys are
// such as they can write: without spaces and control characters.
package client
