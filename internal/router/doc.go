// Package router sends each command to the primary of its key's partition and
// sees it through: refusals, moved partitions, servers that crash, hang or come
// back, all within one timeout. It is what the gateway and a server with -t have
// in common.
//
// A Router belongs to one event loop. All its methods are called on that loop's
// goroutine and all Completions are called there, so nothing is locked.
//
// What happens to a command (a call):
//
//	chained   an earlier command of the same stream on the same key is unanswered (order.go)
//	waiting   a write, for a number in its partition's session (session.go)
//	queued    its server's connection is being opened (link.go)
//	sent      it was written to an open connection (link.go)
//	local     it is with the Backend in this process (local.go)
//	parked    it was refused, or there is nobody to send it to: again soon (park.go)
//	declined  a get, whose value there was no room for: until there is (decline.go)
//
// Only in the states sent and local may it be done. A write that leaves one of
// them without an answer (its connection breaks or is silent, its partition
// moves, its server steps down) is sent again as a retry under the same number,
// and is done once (R8). Only the answer to the latest try is heeded. A refusal
// says that a try was none. What a client is told is unknown: a write that may
// have been done when its time is over, or whose session the servers have lost.
package router
