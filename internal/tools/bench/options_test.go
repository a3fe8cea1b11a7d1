package bench

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/cli"
)

func TestCommandLines(t *testing.T) {
	o, err := parseOptions(strings.Fields("localhost --protocol meta --connections 3 --pipeline 4 --keys 5 --distribution zipf:1.2 --value-size 10-2K --time 1.5 --rate 6 --set 7 --multiget 8 --warm-up 9 --fill --pid 10,11 --rounds 12 --threads 2 --seed 13 --timeout 14 --json --tolerate"), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Load{Connections: 3, Pipeline: 4, Threads: 2, Keys: 5, Distribution: Distribution{1.2}, MinValue: 10, MaxValue: 2048, Operations: 100000,
		Time: 1500 * time.Millisecond, Rate: 6, Sets: 7, Multiget: 8, WarmUp: 9, Seed: 13, Timeout: 14 * time.Second}
	if o.load != want || !o.fill || !o.json || !o.tolerate || o.compare || o.rounds != 12 ||
		fmt.Sprint(o.systems) != "[{localhost [127.0.0.1:11211] meta [10 11]}]" {
		t.Errorf("%+v", o)
	}
	o, err = parseOptions([]string{"--compare", "a=localhost", "--protocol", "binary", "--compare=b=127.0.0.1:5+localhost:6,pid=3+4,protocol=redis"}, nil)
	if err != nil || !o.compare || fmt.Sprint(o.systems) != "[{a [127.0.0.1:11211] binary []} {b [127.0.0.1:5 127.0.0.1:6] redis [3 4]}]" {
		t.Errorf("%+v %v", o, err)
	}
	for line, says := range map[string]string{
		"":                                        "address of one server",
		"a b":                                     "address of one server",
		"localhost:x":                             "bad port",
		"localhost --protocol smtp":               "--protocol",
		"localhost --distribution x":              "--distribution",
		"localhost --value-size 9-3":              "--value-size",
		"localhost --value-size 2G":               "--value-size",
		"localhost --set 101":                     "--set",
		"localhost --time 1 --operations 3":       "--time",
		"localhost+":                              "address is empty",
		"localhost+localhost:2 --connections 1":   "as many --connections",
		"localhost --pid x":                       "--pid",
		"localhost --keys 0":                      "--keys",
		"localhost --compare a=localhost":         "unexpected argument",
		"--compare localhost":                     "NAME=HOST",
		"--compare a=localhost,color=red":         "unknown option",
		"--compare a=localhost,pid=1+x":           "process ID",
		"--compare a=localhost,protocol=x":        "protocol must be",
		"--compare a=localhost --pid 3":           "pid=PID",
		"localhost --rate -1":                     "--rate",
		"localhost --timeout 0":                   "--timeout",
		"localhost --nix":                         "--nix",
		"localhost --multiget 0 --connections 10": "--multiget",
	} {
		_, err := parseOptions(strings.Fields(line), nil)
		var usage *cli.UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", line, err)
		}
	}
	var help bytes.Buffer
	if _, err := parseOptions([]string{"--help"}, &help); !errors.Is(err, cli.ErrHelp) || !strings.Contains(help.String(), "--distribution") {
		t.Errorf("%v %s", err, help.String())
	}
}
