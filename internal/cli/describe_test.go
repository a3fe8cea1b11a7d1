package cli

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
)

func TestDescribe(t *testing.T) {
	f, _ := ManagerFlags()
	var out bytes.Buffer
	if err := f.Parse([]string{"--" + describeFlag}, &out); err != ErrHelp {
		t.Fatal(err)
	}
	var d Description
	if err := json.Unmarshal(out.Bytes(), &d); err != nil || !reflect.DeepEqual(d, f.Describe()) {
		t.Fatalf("%v: %s", err, out.Bytes())
	}
	find := func(long string) (found FlagDescription) {
		for _, x := range d.Flags {
			if x.Long == long {
				found = x
			}
		}
		return found
	}
	for _, want := range []FlagDescription{
		{Short: "l", Long: "listen", Value: "ADDR[:PORT=19700]", Help: "address of this manager, as others reach it", Required: true},
		{Short: "Ys", Long: "connect-timeout", Value: "SEC", Default: "0.5", Help: "how long one try to reach a peer may take"},
		{Short: "Ci", Long: "clock-interval", Value: "N", Help: "no clock takes part in replication", Past: true},
		{Short: "h", Long: "help", Help: "print this help and exit"},
		{Long: "version", Help: "print the version and exit"},
	} {
		if got := find(want.Long); got != want {
			t.Errorf("%s:\ngot  %+v\nwant %+v", want.Long, got, want)
		}
	}
	if find(describeFlag) != (FlagDescription{}) {
		t.Error("the flag that describes is shown")
	}
}

func TestCommands(t *testing.T) {
	before, list, after := Commands("Does things.\n\nCommands:\n  status         how it is (also: stat)\n  backup [NAME]  make a backup\n                 of it all\n  long-command-line\n                 which has its meaning below\n\nThe end.\nReally.")
	want := []Command{{"status", "how it is (also: stat)"}, {"backup [NAME]", "make a backup of it all"}, {"long-command-line", "which has its meaning below"}}
	if before != "Does things." || after != "The end.\nReally." || !reflect.DeepEqual(list, want) || list[1].Name() != "backup" {
		t.Errorf("%q\n%q\n%q", before, list, after)
	}
	if before, list, after := Commands("No list."); before != "No list." || list != nil || after != "" {
		t.Errorf("%q %q %q", before, list, after)
	}
}
