package tools

import (
	"bytes"
	"strings"
	"testing"

	"github.com/kumofs/kumofs/internal/control"
)

func TestKumostat(t *testing.T) {
	s := newFake(t)
	s.mapped = threeServers()
	s.mapped.Servers[0].State = 1
	s.stats = map[string]map[string]any{
		"items":     {"items": uint64(18446744073709551615)},
		"version":   {"version": "0.1.0"},
		"hscheck":   {"hscheck": true},
		"replstat":  {"replstat": "ready"},
		"set_delay": {"set_delay": "ok"},
		"checksum":  {"checksum": "00ff"},
		"stats":     {"items": 3, "cmd_get": 1234567890123, "stats": "x"},
	}
	faulty := s.mapped.Servers[0].Addr
	state := func(addr string) string {
		if addr == faulty {
			return "fault"
		}
		return "active"
	}
	whs := "hash space timestamp:\n  Wed Dec 03 22:16:00 +0900 2008 clock 72\nnode:\n" +
		"  127.0.0.1:19801  (" + state("127.0.0.1:19801") + ")\n  127.0.0.1:19802  (" + state("127.0.0.1:19802") +
		")\n  127.0.0.1:19803  (" + state("127.0.0.1:19803") + ")\n"
	var out, errs bytes.Buffer
	for key, want := range map[string]string{
		"items": "18446744073709551615\n", "version": "0.1.0\n", "hscheck": "true\n", "replstat": "ready\n", "set_delay": "ok\n",
		"checksum": "00ff\n", "checksum 12": "of 12\n", "stats": "cmd_get: 1234567890123\nitems: 3\nstats: x\n",
		"rhs": whs, "whs": whs, "items --json": "{\n  \"items\": 18446744073709551615\n}\n",
	} {
		check(t, Kumostat(t.Context(), append([]string{s.addr()}, strings.Fields(key)...), &out, &errs), &out, "", want)
	}
	s.level = "warn"
	check(t, Kumostat(t.Context(), []string{s.addr(), "log_level"}, &out, &errs), &out, "", "warn\n")
	check(t, Kumostat(t.Context(), []string{s.addr(), "log_level", "debug"}, &out, &errs), &out, "", "debug\n")
	check(t, Kumostat(t.Context(), []string{s.addr(), "log_level", "--json"}, &out, &errs), &out, "", "{\n  \"log_level\": \"debug\"\n}\n")
	check(t, Kumostat(t.Context(), []string{s.addr(), "log_level", "loud"}, &out, &errs), &out, "level: must be quiet", "")
	check(t, Kumostat(t.Context(), []string{s.addr(), "pid"}, &out, &errs), &out, "no such thing", "")
	dead := deadAddr(t)
	check(t, Kumostat(t.Context(), []string{dead, "pid"}, &out, &errs), &out, "server "+dead+": connection refused", "")

	m, dead2 := newFake(t), dead
	m.status = &control.Status{Attached: []control.NodeStatus{
		{Addr: "127.0.0.2:1", State: "fault"}, {Addr: s.addr(), State: "active"},
	}}
	check(t, Kumostat(t.Context(), []string{"-m", m.addr(), "items"}, &out, &errs), &out, "", s.addr()+":  18446744073709551615\n")
	check(t, Kumostat(t.Context(), []string{"-m", m.addr(), "whs"}, &out, &errs), &out, "", s.addr()+":  "+whs)
	check(t, Kumostat(t.Context(), []string{"-m", m.addr(), "replstat", "--json"}, &out, &errs), &out, "", "{\n  \""+s.addr()+"\": \"ready\"\n}\n")
	m.status.Attached = append(m.status.Attached, control.NodeStatus{Addr: dead2, State: "active"})
	err := Kumostat(t.Context(), []string{"-m", m.addr(), "version"}, &out, &errs)
	if err == nil || err.Error() != "" || errs.String() != "kumostat: server "+dead2+": connection refused\n" {
		t.Errorf("%v %q", err, errs.String())
	}
	check(t, nil, &out, "", s.addr()+":  0.1.0\n")
}

func TestHotKeys(t *testing.T) {
	s, m := newFake(t), newFake(t)
	s.hot = &control.HotKeys{Every: 64, Reads: []control.HotKey{
		{Bytes: []byte("a\x1b[2J"), Key: "not to be trusted \x1b[2J", Partition: 4095, PerSecond: 1234.56, Share: 0.5},
		{Bytes: []byte("b c"), Partition: 3, PerSecond: 7, Share: 0.004},
	}, Writes: []control.HotKey{{Bytes: []byte("w"), Partition: 12, PerSecond: 9, Share: 1}}}
	m.status = &control.Status{Attached: []control.NodeStatus{{Addr: s.addr(), State: "active"}}}
	const first, second, third = `read      1234.6/s  50.0%  partition  4095  "a\x1b[2J"`, `read         7.0/s   0.4%  partition     3  "b c"`, `write        9.0/s 100.0%  partition    12  "w"`
	var out, errs bytes.Buffer
	check(t, Kumostat(t.Context(), []string{s.addr(), "hotkeys"}, &out, &errs), &out, "", first+"\n"+second+"\n"+third+"\n")
	check(t, Kumostat(t.Context(), []string{s.addr(), "hotkeys", "1"}, &out, &errs), &out, "", first+"\n"+third+"\n")
	at := s.addr() + ":  "
	check(t, Kumostat(t.Context(), []string{"-m", m.addr(), "hotkeys"}, &out, &errs), &out, "", at+first+"\n"+at+second+"\n"+at+third+"\n")
	if err := Kumostat(t.Context(), []string{s.addr(), "hotkeys", "--json"}, &out, &errs); err != nil || !strings.Contains(out.String(), `"key_base64": "YiBj"`) {
		t.Error(err, out.String())
	}
	out.Reset()
	s.hot = &control.HotKeys{}
	check(t, Kumostat(t.Context(), []string{s.addr(), "hotkeys"}, &out, &errs), &out, "", "")
	s.hot = nil // an older server's
	check(t, Kumostat(t.Context(), []string{s.addr(), "hotkeys"}, &out, &errs), &out, "no such thing", "")
}

func TestBadKumostat(t *testing.T) {
	for args, want := range map[string]string{
		"":                         "needs a server's address and a command",
		"localhost":                "needs a command",
		"-m localhost":             "needs a command",
		"localhost itmes":          `unknown command "itmes"`,
		"localhost items 3":        `items: unexpected argument "3"`,
		"localhost checksum 99999": `checksum: "99999" is not`,
		"localhost pairs":          "pairs: needs the number",
		"localhost log_level a b":  `log_level: unexpected argument "b"`,
		"localhost pairs x":        `pairs: "x" is not`,
		"-m localhost:0 items":     "address",
		"localhost hotkeys 0":      `hotkeys: "0" is not`,
		"localhost hotkeys 3 4":    `hotkeys: unexpected argument "4"`,
	} {
		var out bytes.Buffer
		if err := Kumostat(t.Context(), strings.Fields(args), &out, &out); !isUsage(err) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v", args, err)
		}
	}
}
