// Package sim runs a whole cluster in one goroutine under virtual time: the
// real protocol core (replica), the real decisions of the managers (council)
// and the real frames (wire), over a simulated network, disks and clocks, with
// crashes, pauses, partitions, lost messages and moves. Everything follows from
// a seed, so what a seed shows can be shown again.
//
// It checks the promises P1 and P2 of DESIGN.md §2 on every run:
//
//   - every key's history is linearizable (porcupine);
//   - nothing is answered from a store in an epoch older than one that has served;
//   - all replicas hold the same at every activation and when all is at rest;
//   - every step of the cluster map is valid, and none that the managers propose is refused;
//   - a client's outcome is unknown only where R8 allows it, and never after a single fault;
//   - after the last fault every partition serves again within a bound, and has all its copies.
//
// The files:
//
//	world.go    virtual time, events, random numbers, the trace
//	link.go     connections between servers, with what may befall them
//	server.go   kumo-server without its sockets: turns, maps, joins, leases
//	disk.go     a store: batches that take time, and are lost in a crash
//	copy.go     the bulk copy of a join
//	manager.go  the managers as one register with outages and changes of leader
//	client.go   gateways and the clients behind them
//	session.go  their sessions
//	fault.go    what goes wrong
//	single.go   one thing at a time
//	history.go  what clients saw, and the model of one key
//	inspect.go  checks that look into the servers
//	run.go      one run from a seed
package sim
