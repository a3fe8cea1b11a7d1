package manager

import (
	"strings"
	"testing"

	"github.com/kumofs/kumofs/internal/control"
)

func TestDecide(t *testing.T) {
	blank := func(addr string) candidate { return candidate{addr, &control.Voter{ID: "x", Addr: addr}} }
	has := func(addr string) candidate {
		return candidate{addr, &control.Voter{ID: "x", Addr: addr, Members: []control.VoterMember{{ID: "x", Addr: addr, Voter: true}}}}
	}
	silent := func(addr string) candidate { return candidate{addr: addr} }
	const self = "10.0.0.9:19700"
	for _, test := range []struct {
		name     string
		partners []candidate
		alone    bool
		want     string // bootstrap, join ADDR, or what it waits for
	}{
		{"the lowest begins", []candidate{blank("10.0.0.10:19700"), blank("10.0.0.11:19700")}, false, "bootstrap"},
		{"numerically", []candidate{blank("10.0.0.10:19700")}, false, "bootstrap"},
		{"by port on one machine", []candidate{blank("10.0.0.9:9700")}, false, "waits for 10.0.0.9:9700"},
		{"the others wait for it", []candidate{blank("10.0.0.10:19700"), blank("10.0.0.8:19700")}, false, "waits for 10.0.0.8:19700"},
		{"by the address that it has, not the one that -p gives", []candidate{{"10.0.0.77:19700", blank("10.0.0.8:19700").voter}}, false, "waits for 10.0.0.8:19700"},
		{"one silent: all wait", []candidate{blank("10.0.0.10:19700"), silent("10.0.0.11:19700")}, false, "waits for 10.0.0.11:19700"},
		{"all silent", []candidate{silent("10.0.0.10:19700"), silent("10.0.0.11:19700")}, false, "waits for 10.0.0.10:19700, 10.0.0.11:19700"},
		{"--alone overrides", []candidate{blank("10.0.0.8:19700"), silent("10.0.0.11:19700")}, true, "bootstrap"},
		{"one has a cluster", []candidate{blank("10.0.0.8:19700"), has("10.0.0.11:19700")}, false, "join 10.0.0.11:19700"},
		{"although another is silent", []candidate{silent("10.0.0.8:19700"), has("10.0.0.11:19700")}, false, "join 10.0.0.11:19700"},
		{"also with --alone: never two clusters", []candidate{has("10.0.0.11:19700")}, true, "join 10.0.0.11:19700"},
	} {
		got := decide(self, test.partners, test.alone)
		said := got.waits
		if got.bootstrap {
			said += "bootstrap"
		}
		if got.join != "" {
			said += "join " + got.join
		}
		if !strings.Contains(said, test.want) || said == "" {
			t.Errorf("%s: %q, want %q", test.name, said, test.want)
		}
	}
}
