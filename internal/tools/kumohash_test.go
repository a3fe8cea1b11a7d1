package tools

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/kumofs/kumofs/internal/clustermap"
)

func TestKumohash(t *testing.T) {
	m := newFake(t)
	m.mapped = threeServers()
	var out bytes.Buffer
	hash := fmt.Sprintf("%016x", clustermap.Hash([]byte("the key")))
	check(t, Kumohash(t.Context(), []string{"hash", "the key"}, &out), &out, "", hash+"  the key\n")
	check(t, Kumohash(t.Context(), []string{"-m", "127.0.0.1:1", "hash", "the key"}, &out), &out, "", hash+"  the key\n")

	p := m.mapped.Partitions[m.mapped.PartitionOf([]byte("the key"))]
	want := hash + "  the key\n"
	for i, id := range p.Replicas {
		want += fmt.Sprintf("  %d: %s\n", i, m.mapped.Server(id).Addr)
	}
	if strings.Count(want, "\n") != 4 {
		t.Fatal(want)
	}
	check(t, Kumohash(t.Context(), []string{"-m", m.addr(), "assign", "the key"}, &out), &out, "", want)

	if err := Kumohash(t.Context(), []string{"-m", m.addr(), "dump"}, &out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	first := m.mapped.Partitions[1].Replicas
	if len(lines) != 16 || lines[1] != fmt.Sprintf("1000000000000000     1  %s %s %s",
		m.mapped.Server(first[0]).Addr, m.mapped.Server(first[1]).Addr, m.mapped.Server(first[2]).Addr) {
		t.Errorf("%d lines: %q", len(lines), lines)
	}
}

func TestKumohashPlans(t *testing.T) {
	var first, second bytes.Buffer
	if err := Kumohash(t.Context(), []string{"svr1", "svr2:1", "localhost", "--", "assign", "a", "-b"}, &first); err != nil {
		t.Fatal(err)
	}
	if err := Kumohash(t.Context(), []string{"localhost", "svr1", "svr2:1", "assign", "--", "a", "-b"}, &second); err == nil {
		t.Error("a command before -- was taken for a server")
	}
	second.Reset()
	if err := Kumohash(t.Context(), []string{"localhost", "svr1", "svr2:1", "--", "assign", "a", "-b"}, &second); err != nil {
		t.Fatal(err)
	}
	if first.String() != second.String() {
		t.Errorf("the order of servers matters:\n%s%s", &first, &second)
	}
	lines := strings.Split(first.String(), "\n")
	if len(lines) != 9 || !strings.HasSuffix(lines[0], "  a") || !strings.HasSuffix(lines[4], "  -b") {
		t.Errorf("%q", lines)
	}
	for _, addr := range []string{"svr1:19800", "svr2:1", "127.0.0.1:19800"} {
		if strings.Count(first.String(), ": "+addr+"\n") != 2 {
			t.Errorf("%s is not a server of both keys:\n%s", addr, &first)
		}
	}
	first.Reset()
	if err := Kumohash(t.Context(), []string{"svr1", "--json", "--", "assign", "a"}, &first); err != nil || !strings.Contains(first.String(), `"nodes": [
      "svr1:19800"
    ]`) {
		t.Error(err, first.String())
	}
}

func TestBadKumohash(t *testing.T) {
	for args, want := range map[string]string{
		"":                    "needs a command",
		"svr1 svr2":           "needs a command",
		"svr1 -- asign a":     `unknown command "asign"`,
		"svr1 -- assign":      "assign needs a key",
		"svr1 -- dump x":      `dump: unexpected argument "x"`,
		"assign a":            "assign needs a list of servers or -m MANAGER",
		"svr1:99999 assign a": `address "svr1:99999": bad port`,
		"svr1: assign a":      `address "svr1:": bad port`,
	} {
		var out bytes.Buffer
		if err := Kumohash(t.Context(), strings.Fields(args), &out); !isUsage(err) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v", args, err)
		}
	}
}
