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
//	queued    its server's connection is being opened (link.go)
//	sent      it was written to an open connection (link.go)
//	local     it is with the Backend in this process (local.go)
//	parked    it was refused, or there is nobody to send it to: again soon (park.go)
//
// Only in the states sent and local may it be done. So a write whose connection
// breaks while it is sent has an unknown fate and is never repeated, and in
// every other state it surely was not done and may be sent again. A read (OpGet)
// may always be sent again.
package router
