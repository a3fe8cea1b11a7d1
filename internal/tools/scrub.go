package tools

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/control"
)

const (
	// scrubPoll is how often servers are asked how far they are.
	scrubPoll = 500 * time.Millisecond
	// scrubPatience is how long what was found is waited for when the round is over, where nothing is known to hinder it.
	scrubPatience = 2 * time.Minute
)

// scrubbed is one server's answer.
type scrubbed struct {
	Addr   string               `json:"addr"`
	Status *control.ScrubStatus `json:"status,omitempty"`
	Error  string               `json:"error,omitempty"`
}

// scrub has every attached server read its store now. With --wait it ends when all have, and what was found is
// mended or cannot be. It exits 1 if damage is left, or a server could not be asked.
func (c *ctl) scrub(ctx context.Context) error {
	s, err := c.client.Status(ctx)
	if err != nil {
		return err
	}
	sortNodes(s.Attached)
	if len(s.Attached) == 0 {
		return errors.New("scrub: no server is attached")
	}
	all := make([]scrubbed, len(s.Attached))
	for i, n := range s.Attached {
		all[i].Addr = n.Addr
	}
	c.askScrub(ctx, http.MethodPost, all)
	last := ""
	var ended time.Time // when all had read all
	for c.wait && !scrubDone(all) {
		if line := scrubProgress(all); !c.json && line != last {
			fmt.Fprintln(c.out, line)
			last = line
		}
		if running := scrubRuns(all); running {
			ended = time.Time{}
		} else if ended.IsZero() {
			ended = c.now()
		} else if c.now().Sub(ended) > scrubPatience {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(scrubPoll):
		}
		c.askScrub(ctx, http.MethodGet, all)
	}
	if c.json {
		if err := WriteJSON(c.out, all); err != nil {
			return err
		}
	} else {
		c.writeScrub(all)
	}
	for _, a := range all {
		if a.Error != "" || c.wait && len(a.Status.Damaged) > 0 {
			return &cli.Exit{Code: 1}
		}
	}
	return nil
}

// askScrub asks all servers at the same time. One that could not be asked is not asked again to begin.
func (c *ctl) askScrub(ctx context.Context, method string, all []scrubbed) {
	ctx, cancel := context.WithTimeout(ctx, Deadline)
	defer cancel()
	var wg sync.WaitGroup
	for i := range all {
		if all[i].Status == nil && method != http.MethodPost {
			continue
		}
		wg.Go(func() {
			client := NewClient("server", all[i].Addr).WithSecret(c.secret)
			defer client.Close()
			st, err := client.Scrub(ctx, method)
			if err != nil {
				all[i].Error = err.Error()
				return
			}
			all[i].Status, all[i].Error = st, ""
		})
	}
	wg.Wait()
}

// scrubRuns: a server reads still, or could not be asked how far it is.
func scrubRuns(all []scrubbed) bool {
	for _, a := range all {
		if a.Status != nil && (a.Status.Running || a.Error != "") {
			return true
		}
	}
	return false
}

// scrubDone: all have read all, and nothing is being mended.
func scrubDone(all []scrubbed) bool {
	if scrubRuns(all) {
		return false
	}
	for _, a := range all {
		if a.Status == nil {
			continue
		}
		for _, d := range a.Status.Damaged {
			if !strings.Contains(d.Why, control.ScrubNoCopy) {
				return false
			}
		}
	}
	return true
}

// scrubProgress is one line for all of them.
func scrubProgress(all []scrubbed) string {
	tables, tablesDone, partitions, partitionsDone := 0, 0, 0, 0
	var found, mended int64
	for _, a := range all {
		if st := a.Status; st != nil {
			tables, tablesDone = tables+st.Tables, tablesDone+st.TablesDone
			partitions, partitionsDone = partitions+st.Partitions, partitionsDone+st.PartitionsDone
			found, mended = found+st.Found, mended+st.Mended
		}
	}
	line := fmt.Sprintf("%d of %d tables read, %d of %d comparisons", tablesDone, tables, partitionsDone, partitions)
	if found > 0 {
		line += fmt.Sprintf("; found %d, mended %d", found, mended)
	}
	return line
}

func (c *ctl) writeScrub(all []scrubbed) {
	for _, a := range all {
		st := a.Status
		switch {
		case a.Error != "":
			fmt.Fprintf(c.out, "%s: %s\n", a.Addr, a.Error)
			continue
		case st.Running:
			fmt.Fprintf(c.out, "%s: round %d: %d of %d tables read, %d of %d comparisons; at most %s/s\n", a.Addr, st.Round,
				st.TablesDone, st.Tables, st.PartitionsDone, st.Partitions, cli.ShowSize(st.Rate))
		default:
			fmt.Fprintf(c.out, "%s: round %d read %d tables, %s bytes in all; %d partitions could not be compared\n", a.Addr, st.Round,
				st.Tables, cli.ShowSize(int64(st.Bytes)), st.Skipped)
		}
		if st.Found > 0 {
			fmt.Fprintf(c.out, "  since it was started: found %d, mended %d\n", st.Found, st.Mended)
		}
		for _, d := range st.Damaged {
			why := d.Why
			if why == "" {
				why = "being mended"
			}
			fmt.Fprintf(c.out, "  damaged: %s: %s\n", d.Where, why)
		}
	}
}

// Scrub asks a server how its scrubbing goes (GET), or has it begin (POST).
func (c *Client) Scrub(ctx context.Context, method string) (*control.ScrubStatus, error) {
	body, err := c.do(ctx, method, control.PathScrub, nil)
	if err != nil {
		return nil, err
	}
	var st control.ScrubStatus
	return &st, c.decode(body, &st)
}
