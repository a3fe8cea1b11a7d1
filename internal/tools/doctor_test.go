package tools

import (
	"bytes"
	"errors"
	"testing"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
)

func TestDoctor(t *testing.T) {
	m, server := newFake(t), newFake(t)
	server.healthy = true
	m.status = &control.Status{
		Clock: 7, Replication: 1, Attached: []control.NodeStatus{{Addr: server.addr(), State: "active"}},
		Managers: []control.ManagerState{{Addr: "a", Leader: true}, {Addr: "b"}},
	}
	var out bytes.Buffer
	check(t, Kumoctl(t.Context(), []string{m.addr(), "doctor"}, &out), &out, "", "healthy: 1 servers, 2 managers, clock 7\n")

	m.status.Managers = m.status.Managers[:1]
	m.status.Replication = 3
	check(t, Kumoctl(t.Context(), []string{m.addr(), "doctor"}, &out), &out, "", `WARNING: 1 active servers cannot hold 3 copies of each pair
  attach servers until there are 3
WARNING: there is one manager: while it is down a failed server is not replaced
  run a second kumo-manager, each naming the other with -p
`)

	server.healthy = false
	m.status.Replication, m.status.Managers = 1, nil
	m.status.Partitions, m.status.Unavailable = 16, 2
	m.status.Attached = append(m.status.Attached, control.NodeStatus{Addr: "127.0.0.1:1", State: "fault"})
	m.status.NotAttached = []control.NodeStatus{{Addr: "127.0.0.1:2", State: "refused", Note: "data of another cluster"}}
	err := Kumoctl(t.Context(), []string{m.addr(), "doctor"}, &out)
	var exit *cli.Exit
	if !errors.As(err, &exit) || exit.Code != 1 {
		t.Error(err)
	}
	check(t, nil, &out, "", `ERROR: 2 of 16 partitions have no server: their keys cannot be read or written
  start the servers that held them; they resume by themselves
ERROR: server 127.0.0.1:1 is at fault
  start it and run attach, or run detach to do without it
ERROR: server 127.0.0.1:2 is refused: data of another cluster
ERROR: server `+server.addr()+` is not healthy: no such thing
`)
}

func TestPlan(t *testing.T) {
	m := newFake(t)
	m.mapped = threeServers()
	m.status = &control.Status{}
	var out bytes.Buffer
	check(t, Kumoctl(t.Context(), []string{m.addr(), "plan"}, &out), &out, "", "attach would move nothing\n")

	m.status.NotAttached = []control.NodeStatus{{ID: "00000000000000ff", Addr: "127.0.0.1:19804", State: "new", Reachable: true}}
	if err := Kumoctl(t.Context(), []string{m.addr(), "plan"}, &out); err != nil {
		t.Fatal(err)
	}
	p := planFor("attach", m.mapped, m.status)
	if p.Copies != 12 || len(p.Servers) != 4 || p.Servers[3] != (PlanLine{Addr: "127.0.0.1:19804", ReplicasThen: 12, PrimariesThen: 4, Copies: 12}) {
		t.Errorf("%+v", p)
	}
	if !bytes.HasPrefix(out.Bytes(), []byte("attach would make 12 copies of partitions:\n  127.0.0.1:19801  replicas   16 ->   12  primaries")) {
		t.Error(out.String())
	}
	out.Reset()
	check(t, Kumoctl(t.Context(), []string{m.addr(), "plan", "replace"}, &out), &out, "", "replace would move nothing\n")
	m.mapped.Servers[0].State = clustermap.Fault
	check(t, Kumoctl(t.Context(), []string{m.addr(), "plan", "detach"}, &out), &out, "", "detach would move nothing\n")
	if err := Kumoctl(t.Context(), []string{m.addr(), "plan", "backup"}, &out); !isUsage(err) {
		t.Error(err)
	}
}
