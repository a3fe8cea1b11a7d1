// Package sim runs a whole cluster in one goroutine under virtual time: the
// real protocol core (replica), the real decisions of the managers (council),
// the real map and its steps (clustermap) and the real frames (wire), over a
// simulated network, disks, clocks and consensus of the managers. Everything
// follows from a seed, so what a seed shows can be shown again.
//
// Each run is checked (check.go names the checks):
//
//   - every key's history is linearizable (porcupine), and it could be told;
//   - what was acknowledged last is there in the end, what was deleted or overwritten is not;
//   - counters end at the number of acknowledged increments (R8);
//   - one server serves a partition in an epoch, and nothing is answered from a
//     store in an epoch older than one that has served (R5);
//   - what a large value consists of is there as long as an item lists it, and not for ever after;
//   - all replicas hold the same at every activation and when all is at rest;
//   - all managers apply the same steps, each is valid, and none is refused;
//   - no client is left without an answer after a single fault, or one of a
//     server and one of a manager at the same time (R8, P3);
//   - after the last fault every partition serves again within a bound, and has all its copies.
//
// The files:
//
//	world.go          virtual time, processes, random numbers, the trace
//	queue.go          the events to come
//	link.go           connections, with what may befall them
//	server.go         kumo-server without its sockets: turns, maps, joins, leases
//	peer.go           its connections to other servers, its cache
//	sweep.go          its looks for what has expired
//	collect.go        and for chunks that no item lists
//	disk.go           a store: batches that take time, fail, find no room, are lost in a crash
//	copy.go           the bulk copy of a join
//	raft.go           the managers' consensus: one log, agreed by majorities
//	manager.go        kumo-manager without its sockets: a voter and its council
//	uplink.go         a member's link to one of the managers
//	client.go         gateways and the clients behind them
//	session.go        their sessions
//	large.go          their values that lie in chunks
//	counter.go        what is only ever counted up
//	fault.go          what goes wrong, and its schedule
//	fault_network.go  what is cut
//	fault_map.go      what the operator and the plan do meanwhile; what loses data
//	ambush.go         faults for moments that seldom come: leads taken over
//	ambush_join.go    of joins
//	ambush_crash.go   of crashes
//	single.go         one thing at a time
//	history.go        what clients saw
//	history_last.go   what is there in the end
//	model.go          the model of one key
//	check.go          the checks that look into the servers
//	run.go            one run from a seed
//	shrink.go         few faults with which a run still fails
//	script.go         scenarios told line by line (testdata/README.md)
//	script_talk.go    what they say to gateways, and what they look at
package sim
