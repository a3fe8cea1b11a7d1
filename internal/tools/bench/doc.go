// Package bench is kumobench, which puts a server under load and measures it, and
// the loader of test/bench.
//
// What is pure (no clock, no sockets): keys.go and value.go say which keys are used
// and what their values are, protocol.go and the files of the protocols turn
// operations into bytes and answers into tallies, schedule.go says when operations
// are due, result.go and compare.go what came of it. worker.go has the sockets, on
// loops of package loop; session.go runs workers, cpu.go reads what processes have
// used, tool.go is the command line.
package bench
