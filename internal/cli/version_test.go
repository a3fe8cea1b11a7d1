package cli

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestVersionText(t *testing.T) {
	vcs := &debug.BuildInfo{Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "8773239"}, {Key: "vcs.time", Value: "2026-11-28T20:57:05Z"}, {Key: "vcs.modified", Value: "true"},
	}}
	for _, test := range []struct {
		commit, date string
		info         *debug.BuildInfo
		want         string
	}{
		{"", "", nil, "unknown"},
		{"", "", &debug.BuildInfo{}, "unknown"},
		{"", "", vcs, "8773239 (modified), 2026-11-28T20:57:05Z"},
		{"abc", "2026-01-02T03:04:05Z", vcs, "abc, 2026-01-02T03:04:05Z"},
		{"abc", "", vcs, "abc"},
	} {
		want := "kumoctl 1.2.3\ncommit " + test.want + "\n" + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH + "\n"
		if got := versionText("kumoctl", "1.2.3", test.commit, test.date, test.info); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}
