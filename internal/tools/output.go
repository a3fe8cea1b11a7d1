package tools

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/kumofs/kumofs/internal/control"
)

// stampForm is how the original (Ruby 1.8) printed a time.
const stampForm = "Mon Jan 02 15:04:05 -0700 2006"

// writeStamp writes the block that begins status, rhs and whs.
func writeStamp(w io.Writer, t time.Time, clock uint64) {
	if t.IsZero() {
		t = time.Unix(0, 0) // no cluster yet
	}
	fmt.Fprintf(w, "hash space timestamp:\n  %s clock %d\n", t.Local().Format(stampForm), clock)
}

// WriteJSON writes one value for scripts.
func WriteJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// CompareAddrs orders ip:port by IP, then port, as numbers; what is not
// numeric comes last.
func CompareAddrs(a, b string) int {
	x, errX := netip.ParseAddrPort(a)
	y, errY := netip.ParseAddrPort(b)
	switch {
	case errX == nil && errY == nil:
		return cmp.Or(x.Addr().Compare(y.Addr()), cmp.Compare(x.Port(), y.Port()))
	case errX == nil:
		return -1
	case errY == nil:
		return 1
	}
	return strings.Compare(a, b)
}

// sortNodes sorts a status list in place.
func sortNodes(nodes []control.NodeStatus) {
	slices.SortStableFunc(nodes, func(a, b control.NodeStatus) int { return CompareAddrs(a.Addr, b.Addr) })
}
