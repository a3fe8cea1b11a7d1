package tools

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

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
	check(t, Kumoctl(t.Context(), []string{m.addr(), "doctor"}, &out), &out, "", "healthy: 1 servers, 2 managers, clock 7\nINFO: nothing is attached yet\n")

	m.status.Managers = m.status.Managers[:1]
	m.status.Replication = 3
	check(t, Kumoctl(t.Context(), []string{m.addr(), "doctor"}, &out), &out, "", `WARNING: 1 active servers cannot hold 3 copies of each pair
  attach servers until there are 3
WARNING: there is one manager: while it is down a failed server is not replaced
  run a second kumo-manager, each naming the other with -p
INFO: nothing is attached yet
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
INFO: some pairs have no server now
`)
}

// TestDoctorLooksAtServers: what each of them tells of itself.
func TestDoctorLooksAtServers(t *testing.T) {
	m, a, b := newFake(t), newFake(t), newFake(t)
	now := time.Now().Unix()
	a.healthy, b.healthy = true, true
	a.stats = map[string]map[string]any{"stats": {"version": "1.0", "time": now, "disk_avail": int64(50 << 30), "disk_usage": int64(1 << 30), "cluster_secret": false}}
	b.stats = map[string]map[string]any{"stats": {"version": "1.1", "time": now - 100, "disk_avail": int64(3 << 30), "disk_usage": int64(60 << 30)}}
	m.status = &control.Status{Clock: 7, Replication: 2, Partitions: 16, Survives: 1, Attached: []control.NodeStatus{{Addr: a.addr(), State: "active"}, {Addr: b.addr(), State: "active"}},
		Managers: []control.ManagerState{{Addr: "x", Leader: true, Version: "1.1"}, {Addr: "y", Version: "1.1"}}}
	sortNodes(m.status.Attached)
	var out bytes.Buffer
	if err := Kumoctl(t.Context(), []string{m.addr(), "doctor"}, &out); err != nil {
		t.Error(err)
	}
	for _, want := range []string{
		"WARNING: the clock of server " + b.addr() + " is -", "WARNING: server " + b.addr() + " has 3.0 GiB of disk left, its store takes 60 GiB\n",
		"WARNING: daemons are of different versions: 1.0 on " + a.addr() + "; 1.1 on " + b.addr() + ", x, y\n  finish the upgrade\n",
		"INFO: every pair survives the crash of any one server more\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("doctor does not say %q", want)
		}
	}
	if strings.Contains(out.String(), a.addr()+" has") || strings.Contains(out.String(), "anybody who reaches") {
		t.Error(out.String())
	}
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
