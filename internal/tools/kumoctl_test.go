package tools

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/control"
)

func TestStatus(t *testing.T) {
	m := newFake(t)
	m.status = &control.Status{
		Cluster: "00000000000000ab", Clock: 72, Timestamp: updated, Replication: 3, Partitions: 4096, Short: 5, Moving: 7,
		Attached: []control.NodeStatus{
			{ID: "3", Addr: "192.168.0.102:19800", StreamAddr: "192.168.0.102:19900", State: "fault", Incarnation: 2},
			{ID: "1", Addr: "192.168.0.101:19801", StreamAddr: "s", State: "active", Reachable: true, Incarnation: 1, Replicas: 9, Primaries: 3, CopiesLeft: 7, Zone: "a b"},
			{ID: "2", Addr: "192.168.0.101:2000", StreamAddr: "s", State: "active", Reachable: true},
			{ID: "4", Addr: "20.0.0.1:1", StreamAddr: "s", State: "active", Reachable: true},
		},
		NotAttached: []control.NodeStatus{{ID: "3", Addr: "192.168.0.102:19800", StreamAddr: "s", State: "refused", Reachable: true, Note: "data of another cluster"}},
		Managers:    []control.ManagerState{{ID: "b", Addr: "127.0.0.1:19701"}, {ID: "a", Addr: "127.0.0.1:19700", Leader: true, Voter: true, Reachable: true}},
		Witnesses:   []control.WitnessState{{ID: "w-1", Addr: "127.0.0.1:19801", Voter: true, Reachable: true}},
		Gateways: []control.GatewayStatus{{Addr: "10.0.0.1:4711", HTTP: "10.0.0.1:8080", Version: "0.1.0", Connected: updated},
			{Addr: "10.0.0.2:4711", Version: "\x1b[2J", Connected: updated, Client: true}},
	}
	const plain = `hash space timestamp:
  Wed Dec 03 22:16:00 +0900 2008 clock 72
attached node:
  20.0.0.1:1  (active)
  192.168.0.101:2000  (active)
  192.168.0.101:19801  (active)
  192.168.0.102:19800  (fault)
not attached node:
  192.168.0.102:19800
`
	var out bytes.Buffer
	check(t, Kumoctl(t.Context(), []string{m.addr(), "status"}, &out), &out, "", plain)
	check(t, Kumoctl(t.Context(), []string{deadAddr(t) + "," + m.addr(), "stat"}, &out), &out, "", plain)
	check(t, Kumoctl(t.Context(), []string{m.addr(), "status", "--verbose"}, &out), &out, "", `hash space timestamp:
  Wed Dec 03 22:16:00 +0900 2008 clock 72
attached node:
  20.0.0.1:1  (active)  id=4 stream=s incarnation=0 replicas=0 primaries=0 copies_left=0
  192.168.0.101:2000  (active)  id=2 stream=s incarnation=0 replicas=0 primaries=0 copies_left=0
  192.168.0.101:19801  (active)  id=1 stream=s incarnation=1 zone="a b" replicas=9 primaries=3 copies_left=7
  192.168.0.102:19800  (fault)  id=3 stream=192.168.0.102:19900 incarnation=2 replicas=0 primaries=0 copies_left=0 unreachable
not attached node:
  192.168.0.102:19800  (refused)  id=3 stream=s incarnation=0 note="data of another cluster"
cluster:
  00000000000000ab  copies=3 auto-replace=off
partitions:
  4096  unavailable=0 short=5 copies_to_make=7
managers:
  127.0.0.1:19700  (leader)  id=a
  127.0.0.1:19701  id=b without-vote unreachable
witnesses:
  127.0.0.1:19801  id=w-1
gateways:
  10.0.0.1:4711  http=10.0.0.1:8080  version=0.1.0 since=2008-12-03T22:16:00
  10.0.0.2:4711  (client)  version="\x1b[2J" since=2008-12-03T22:16:00
`)
	if err := Kumoctl(t.Context(), []string{m.addr(), "--json", "status"}, &out); err != nil || !strings.Contains(out.String(), `"clock": 72`) || !strings.Contains(out.String(), `"http": "10.0.0.1:8080"`) {
		t.Error(err, out.String())
	}
	out.Reset()
	m.status = &control.Status{} // as an older manager's: it tells of no gateways
	if err := Kumoctl(t.Context(), []string{m.addr(), "--json", "status"}, &out); err != nil || !strings.Contains(out.String(), `"gateways": []`) {
		t.Error(err, out.String())
	}
	out.Reset()
	check(t, Kumoctl(t.Context(), []string{m.addr(), "status"}, &out), &out, "", `hash space timestamp:
  Thu Jan 01 09:00:00 +0900 1970 clock 0
attached node:
not attached node:
`)
}

func TestCommands(t *testing.T) {
	m := newFake(t)
	m.respond = func(req control.CommandRequest) (*control.CommandResponse, error) {
		if req.Command == "detach" {
			return nil, errors.New("127.0.0.1:19801 holds the last copy of 3 partitions; detach --accept-loss ab accepts that")
		}
		if req.Command == "backup" {
			return &control.CommandResponse{Lines: []string{"suffix=" + req.Args[0], "did backup"}, Clock: 5}, nil
		}
		return &control.CommandResponse{Lines: []string{"did " + req.Command}, Clock: 5}, nil
	}
	var out bytes.Buffer
	ctl := func(args ...string) error {
		return Kumoctl(t.Context(), append([]string{m.addr()}, args...), &out)
	}
	check(t, ctl("attach", "--wait"), &out, "", "did attach\n")
	check(t, ctl("replace"), &out, "", "did replace\n")
	check(t, ctl("remove"), &out, "remove: 127.0.0.1:19801 holds the last copy of 3 partitions; detach --accept-loss ab accepts that", "")
	check(t, ctl("backup", "x1"), &out, "", "suffix=x1\ndid backup\n")
	check(t, ctl("backup"), &out, "", "suffix="+time.Now().Format("20060102")+"\ndid backup\n")
	check(t, ctl("enable-auto-replace", "--json"), &out, "", "{\n  \"lines\": [\n    \"did enable-auto-replace\"\n  ],\n  \"clock\": 5\n}\n")
	want := []control.CommandRequest{
		{Command: "attach", Wait: true}, {Command: "replace"}, {Command: "detach"}, {Command: "backup", Args: []string{"x1"}},
		{Command: "backup", Args: []string{time.Now().Format("20060102")}}, {Command: "enable-auto-replace"},
	}
	if !reflect.DeepEqual(m.commands, want) {
		t.Errorf("got  %+v\nwant %+v", m.commands, want)
	}

	m.respond = func(control.CommandRequest) (*control.CommandResponse, error) {
		return &control.CommandResponse{Nothing: true}, nil
	}
	check(t, ctl("attach"), &out, "nothing to attach", "")
	m.respond = func(control.CommandRequest) (*control.CommandResponse, error) {
		return &control.CommandResponse{Nothing: true, Lines: []string{"no server to attach"}}, nil
	}
	check(t, ctl("attach"), &out, "no server to attach", "")
	m.commands = nil
	m.respond = func(control.CommandRequest) (*control.CommandResponse, error) {
		return &control.CommandResponse{Lines: []string{"recovered"}}, nil
	}
	check(t, ctl("recover"), &out, "", "recovered\n")
	check(t, ctl("recover", "--accept-loss", "ab", "--partitions", "0-3,7"), &out, "", "recovered\n")
	for _, bad := range [][]string{{"recover", "0-3"}, {"recover", "--partitions", "all"}, {"detach", "--accept-loss", "ab", "--partitions", "all"}} {
		var usage *cli.UsageError
		if err := ctl(bad...); !errors.As(err, &usage) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	want = []control.CommandRequest{{Command: "recover"}, {Command: "recover", Args: []string{"0-3,7"}, AcceptLoss: "ab"}}
	if !reflect.DeepEqual(m.commands, want) {
		t.Errorf("got  %+v\nwant %+v", m.commands, want)
	}
}

func TestCommandGoesToTheNextManager(t *testing.T) {
	dead, follower, m := deadAddr(t), newFake(t), newFake(t)
	follower.refuse = 503
	m.respond = func(control.CommandRequest) (*control.CommandResponse, error) {
		return &control.CommandResponse{Lines: []string{"done"}}, nil
	}
	var out bytes.Buffer
	check(t, Kumoctl(t.Context(), []string{dead + "," + follower.addr() + "," + m.addr(), "replace"}, &out), &out, "", "done\n")
	// A command refused for good is not asked of another.
	follower.refuse = 409
	check(t, Kumoctl(t.Context(), []string{follower.addr() + "," + m.addr(), "replace"}, &out), &out, "replace: no leader", "")
	check(t, Kumoctl(t.Context(), []string{dead, "replace"}, &out), &out, "replace: manager "+dead+": connection refused", "")
	if len(m.commands) != 1 {
		t.Error(m.commands)
	}
	web := newFake(t)
	check(t, Kumoctl(t.Context(), []string{web.addr(), "status"}, &out), &out, "no such thing", "")
}

func TestBadKumoctl(t *testing.T) {
	for args, want := range map[string]string{
		"":                                       "needs a manager's address and a command",
		"localhost":                              "needs a manager's address and a command",
		"localhost atach":                        `unknown command "atach"`,
		"localhost attach x":                     `attach: unexpected argument "x"`,
		"localhost status --bogus":               "unknown flag --bogus",
		"localhost backup a/b":                   `backup: the suffix "a/b" must be made of`,
		"localhost backup a b":                   "backup takes one suffix",
		"localhost backup a --to b":              "backup takes a suffix or --to, not both",
		"localhost backup --since b":             "--since belongs to backup --to",
		"localhost backup --no-compress":         "--no-compress belongs to backup --to",
		"localhost status --to b":                "--to belongs to backup",
		"localhost attach --rate 1M":             "--pause, --resume, --cancel, --rate and --at-once belong to replace",
		"localhost backup --to b --keep":         "--keep and --overwrite belong to restore",
		"localhost restore":                      "restore takes one backup",
		"localhost restore b --keep --overwrite": "--overwrite and --keep exclude each other",
		"verify":                                 "verify takes one backup or store",
		"verify b --overwrite":                   "--keep and --overwrite belong to restore",
		"localhost:x status":                     `address "localhost:x": bad port "x"`,
		"localhost --accept-loss":                "flag --accept-loss needs a value",
	} {
		var out bytes.Buffer
		err := Kumoctl(t.Context(), strings.Fields(args), &out)
		if !isUsage(err) || !strings.HasPrefix(err.Error(), want) || out.Len() != 0 {
			t.Errorf("%q: %v", args, err)
		}
	}
	var out bytes.Buffer
	if err := Kumoctl(t.Context(), []string{"no-such-host.invalid", "status"}, &out); err == nil || isUsage(err) {
		t.Error(err)
	}
}
