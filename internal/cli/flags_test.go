package cli

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestServerCommandLines(t *testing.T) {
	f, o := ServerFlags()
	err := f.Parse(strings.Fields("-v -m localhost -p 127.0.0.2,localhost -l localhost:19801 -L 19901 -s ./kumodb1.tch -Ys 2 --connect-retry-limit=3 -gN 5 -gS 20480 --cache-size 1G --replace-rate 8M/s --disk-full 10G -t 11211 -TR 6 -TW 4 -Ci 16 --fsync"), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := &ServerOptions{
		Common: Common{Verbose: true, ConnectTimeout: 2 * time.Second, ConnectRetryLimit: 3, ReadThreads: 6, Keepalive: 2 * time.Second},
		Listen: "127.0.0.1:19801", StreamPort: 19901, Store: "./kumodb1.tch",
		Managers: []string{"127.0.0.1:19700", "127.0.0.2:19700"},
		Text:     ":11211", Fsync: true, CacheSize: 1 << 30, ReplaceRate: 8 << 20, ScrubRate: 4 << 20, ScrubInterval: 7 * 24 * time.Hour,
		DiskLow: Amount{Percent: 5}, DiskFull: Amount{Bytes: 10 << 30},
		DrainTimeout: 10 * time.Second,
		Clients:      ClientLimits{MaxItemSize: 1 << 20, MaxConnections: 65536},
	}
	if !reflect.DeepEqual(o, want) {
		t.Errorf("got  %+v\nwant %+v", o, want)
	}
	if len(f.Warnings()) != 5 { // one of them: -t is open to anybody
		t.Errorf("warnings: %q", f.Warnings())
	}
}

func TestManagerCommandLines(t *testing.T) {
	f, o := ManagerFlags()
	if err := f.Parse(strings.Fields("-l localhost -p localhost,127.0.0.3:5 -a -Rs 0.5 -k 3 -c 19799 -g err.mpac -o - -d x.pid --alone"), nil); err != nil {
		t.Fatal(err)
	}
	if o.Listen != "127.0.0.1:19700" || !reflect.DeepEqual(o.Partners, []string{"127.0.0.3:5"}) || !o.AutoReplace ||
		o.ReplaceDelay != 500*time.Millisecond || o.State != "kumo-manager-19700" || o.Keepalive != 3*time.Second || !o.Alone ||
		o.BinaryLog != "err.mpac" || o.Log != "-" || o.PIDFile != "x.pid" {
		t.Errorf("%+v", o)
	}
}

func TestGatewayCommandLines(t *testing.T) {
	f, o := GatewayFlags()
	if err := f.Parse(strings.Fields("-m localhost -p localhost:19701 -t 127.0.0.1:11211 -b 11212 -c localhost -As -Ad -lc x -k pre: -F -E -G 5 -S 20 -D 20 -rn 4 --timeout 3 --http :8080 --max-item-size 8M --allow-flush-all --max-connections 10"), nil); err != nil {
		t.Fatal(err)
	}
	want := ServeOptions{Text: "127.0.0.1:11211", Binary: ":11212", Cloudy: "127.0.0.1:11611", KeyPrefix: "pre:",
		Timeout: 3 * time.Second, HTTP: ":8080", Clients: ClientLimits{MaxItemSize: 8 << 20, AllowFlushAll: true, MaxConnections: 10}}
	if o.Serve != want {
		t.Errorf("got  %+v\nwant %+v", o.Serve, want)
	}
	if len(f.Warnings()) != 10 { // one of them: -b is open to anybody
		t.Errorf("warnings: %q", f.Warnings())
	}
	f, o = GatewayFlags()
	if err := f.Parse([]string{"-m", "localhost"}, nil); err != nil || o.Serve.Text != ":11411" || o.Serve.Timeout != 10*time.Second {
		t.Errorf("%v %+v", err, o.Serve)
	}
}

func TestBadCommandLines(t *testing.T) {
	for args, want := range map[string]string{
		"-l localhost -s x":                             "missing required flag -m (--manager1)",
		"-m localhost -l localhost":                     "missing required flag -s (--store) PATH",
		"-m localhost -l localhost -s x --bogus":        "unknown flag --bogus\nsee kumo-server --help",
		"-m localhost -l localhost -s x -z":             "unknown flag -z\n",
		"-m localhost -l localhost -s":                  "flag -s (--store) needs a value",
		"-m localhost -l localhost:x -s x":              `invalid value "localhost:x" for flag -l (--listen): address "localhost:x": bad port "x"`,
		"-m localhost -l localhost:70000 -s x":          "port 70000 is not within 1 to 65535",
		"-m localhost -l 0.0.0.0 -s x":                  "every interface",
		"-m localhost -l :19800 -s x":                   "lacks a host",
		"-m localhost -l localhost -s x -Ys fast":       `invalid value "fast" for flag -Ys (--connect-timeout): must be a number of seconds`,
		"-m localhost -l localhost -s x -Yn 0":          "must be within 1 to 1000",
		"-m localhost -l localhost -s x --cache-size y": "must be a size",
		"-m localhost -l localhost -s x extra":          `unexpected argument "extra"`,
		"-m no-such-host.invalid -l localhost -s x":     `unknown host "no-such-host.invalid"`,
		"-m 300.1.1.1 -l localhost -s x":                `"300.1.1.1" is not an IP address`,
	} {
		f, _ := ServerFlags()
		err := f.Parse(strings.Fields(args), nil)
		var usage *UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\ngot  %v\nwant %s", args, err, want)
		}
	}
}

func TestFlagsAfterArguments(t *testing.T) {
	f := NewFlags("kumoctl", "ADDR COMMAND")
	json := f.Bool("", "json", "print JSON")
	if err := f.Parse([]string{"svr1", "status", "--json"}, nil); err != nil || !*json || !reflect.DeepEqual(f.Args(), []string{"svr1", "status"}) || f.Dash() != -1 {
		t.Errorf("%v %v %v %d", err, *json, f.Args(), f.Dash())
	}
	f = NewFlags("kumohash", "")
	f.Bool("", "json", "print JSON")
	if err := f.Parse([]string{"a", "--json", "b", "--", "assign", "-key"}, nil); err != nil || f.Dash() != 2 || !reflect.DeepEqual(f.Args(), []string{"a", "b", "assign", "-key"}) {
		t.Errorf("%v %q %d", err, f.Args(), f.Dash())
	}
}

func TestHelp(t *testing.T) {
	f, _ := ManagerFlags()
	var out bytes.Buffer
	if err := f.Parse([]string{"-h"}, &out); err != ErrHelp {
		t.Fatal(err)
	}
	for _, line := range []string{
		"Usage: kumo-manager -l ADDR[:PORT] [-p ADDR[:PORT],...] [flags]\n",
		"  -l,  --listen ADDR[:PORT=19700]       address of this manager, as others reach it (required)\n",
		"  -Rs, --replace-delay SEC              how long -a waits before it acts (default 4)\n",
		"       --alone                          start a cluster although",
		"  -Ci, --clock-interval N  no clock takes part",
	} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("no %q in\n%s", line, out.String())
		}
	}
	out.Reset()
	if err := f.Parse([]string{"--version"}, &out); err != ErrVersion || !strings.HasPrefix(out.String(), "kumo-manager "+Version+"\ncommit ") {
		t.Errorf("%v %q", err, out.String())
	}
}

func TestResolve(t *testing.T) {
	for in, want := range map[string]string{
		"localhost": "127.0.0.1:7", "192.168.0.1": "192.168.0.1:7", "192.168.0.1:9": "192.168.0.1:9",
		"[::1]:5": "[::1]:5", "::1": "[::1]:7", "[::1]": "[::1]:7",
	} {
		if got, err := ResolveAddr(in, 7); got != want || err != nil {
			t.Errorf("ResolveAddr(%q) = %q, %v", in, got, err)
		}
		if got, err := ResolveListen(in, 7); got != want || err != nil {
			t.Errorf("ResolveListen(%q) = %q, %v", in, got, err)
		}
	}
	for in, want := range map[string]string{"11211": ":11211", ":11211": ":11211", "*:11211": ":11211", "0.0.0.0:1": "0.0.0.0:1"} {
		if got, err := ResolveListen(in, 7); got != want || err != nil {
			t.Errorf("ResolveListen(%q) = %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"", ":", "localhost:", "localhost:0", "a:b:c", "99999"} {
		if got, err := ResolveAddr(in, 7); err == nil {
			t.Errorf("ResolveAddr(%q) = %q", in, got)
		}
	}
	if got := SplitList(" svr2,svr3,, "); !reflect.DeepEqual(got, []string{"svr2", "svr3"}) {
		t.Error(got)
	}
}

func TestSizes(t *testing.T) {
	for in, want := range map[string]int64{"0": 0, "65536": 65536, "64M": 64 << 20, "1G": 1 << 30, "1.5k": 1536, "2GiB": 2 << 30, "10B": 10} {
		if got, err := ParseSize(in); got != want || err != nil {
			t.Errorf("ParseSize(%q) = %d, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "M", "-1", "1X", "1MM", "NaN", "Inf", "1e30"} {
		if got, err := ParseSize(in); err == nil {
			t.Errorf("ParseSize(%q) = %d", in, got)
		}
	}
	if ShowSize(64<<20) != "64M" || ShowSize(1536) != "1536" || ShowSize(0) != "0" {
		t.Error(ShowSize(64<<20), ShowSize(1536), ShowSize(0))
	}
}

func TestBadKeyPrefix(t *testing.T) {
	f, _ := GatewayFlags()
	var usage *UsageError
	if err := f.Parse([]string{"-m", "localhost", "-k", "\xff"}, nil); !errors.As(err, &usage) || !strings.Contains(err.Error(), "0xff") {
		t.Error(err)
	}
}

// The cache is an eighth of the memory, of all servers in the process together.
func TestCacheSize(t *testing.T) {
	f := NewFlags("kumo-server", "")
	size := CacheFlag(f)
	if err := f.Parse(nil, io.Discard); err != nil {
		t.Fatal(err)
	}
	one, many := size(1), size(1<<20)
	if one < cacheLeast || many != cacheLeast {
		t.Errorf("%d bytes for one server, %d for each of a million", one, many)
	}
	if one > cacheLeast && one != cacheUnknown && size(2) != max(cacheLeast, one/2) {
		t.Errorf("%d bytes for one server, %d for each of two", one, size(2))
	}
	if err := f.Parse([]string{"--cache-size", "0"}, io.Discard); err != nil || size(1) != 0 {
		t.Errorf("%v, %d bytes, want none", err, size(1))
	}
}
