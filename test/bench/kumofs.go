package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/tools"
)

// cluster is kumofs with a process for each daemon.
type cluster struct {
	*system
	r       *run
	opt     clusterOptions
	manager *tools.Client
	mgrAddr string
	servers []*server
}

type clusterOptions struct {
	name    string
	servers int
	direct  bool     // clients talk to the servers (-t), there is no gateway
	args    []string // of each server
	prefix  []string // before each server's command line
}

type server struct {
	addr string
	text string
	argv []string
	dir  string
	proc *process
}

// cluster starts one and attaches its servers.
func (r *run) cluster(opt clusterOptions) (*cluster, error) {
	s, err := r.system(opt.name, "text")
	if err != nil {
		return nil, err
	}
	c := &cluster{system: s, r: r, opt: opt, mgrAddr: freeAddr()}
	c.manager = tools.NewClient("manager", c.mgrAddr)
	if _, err := s.run(r.program("kumo-manager"), "-l", c.mgrAddr); err != nil {
		return nil, err
	}
	if err := r.waitPort(s, c.mgrAddr); err != nil {
		return nil, err
	}
	for range opt.servers {
		if _, err := c.add(); err != nil {
			return nil, err
		}
	}
	if _, err := c.attach(); err != nil {
		return nil, err
	}
	if !opt.direct {
		addr := freeAddr()
		s.Addrs = []string{addr}
		if _, err := s.run(r.program("kumo-gateway"), "-m", c.mgrAddr, "-t", addr); err != nil {
			return nil, err
		}
	}
	return c, r.waitPort(s, s.Addrs...)
}

// local starts `kumofs local`: three servers and a gateway in one process.
func (r *run) local() (*system, error) {
	s, err := r.system("kumofs local, 3 copies", "text")
	if err != nil {
		return nil, err
	}
	port := freePort()
	s.Addrs = []string{fmt.Sprintf("127.0.0.1:%d", port)}
	if _, err := s.run(r.program("kumofs"), "local", "--servers", "3", "--port", strconv.Itoa(port), "--data", "data"); err != nil {
		return nil, err
	}
	return s, r.waitPort(s, s.Addrs...)
}

func (r *run) program(name string) string { return filepath.Join(r.bin, name) }

// add starts one more server, which is not attached.
func (c *cluster) add() (*server, error) {
	sv := &server{addr: freeAddr(), dir: filepath.Join(c.dir, fmt.Sprintf("db%d", len(c.procs)))}
	sv.argv = append(sv.argv, c.opt.prefix...)
	sv.argv = append(sv.argv, c.r.program("kumo-server"), "-m", c.mgrAddr, "-l", sv.addr, "-L", strconv.Itoa(freePort()), "-s", sv.dir)
	if c.opt.direct {
		sv.text = freeAddr()
		sv.argv = append(sv.argv, "-t", sv.text)
		c.Addrs = append(c.Addrs, sv.text)
	}
	sv.argv = append(sv.argv, c.opt.args...)
	c.servers = append(c.servers, sv)
	return sv, c.startServer(sv)
}

// startServer starts a server that does not run.
func (c *cluster) startServer(sv *server) (err error) {
	sv.proc, err = c.run(sv.argv...)
	return err
}

// attach attaches the servers that are not, once all are known, and tells how long it
// took from the command until every copy is where it belongs.
func (c *cluster) attach() (took time.Duration, err error) {
	err = c.r.until(20*time.Second, func() error {
		s, err := c.manager.Status(c.r.ctx)
		if err == nil && len(s.Attached)+len(s.NotAttached) != len(c.servers) {
			err = fmt.Errorf("%d of %d servers are known", len(s.Attached)+len(s.NotAttached), len(c.servers))
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("attach: %w%s", err, c.logs())
	}
	begin := time.Now()
	err = c.command("attach")
	return time.Since(begin), err
}

// command gives the manager one, and waits until the cluster is whole again.
func (c *cluster) command(name string) error {
	if _, err := c.manager.Command(c.r.ctx, control.CommandRequest{Command: name}); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	err := c.r.until(10*time.Minute, func() error {
		s, err := c.manager.Status(c.r.ctx)
		if err != nil {
			return err
		}
		for _, n := range s.Attached {
			if n.State != "active" {
				return fmt.Errorf("%s is %s", n.Addr, n.State)
			}
		}
		if s.Unavailable+s.Short+s.Moving > 0 || len(s.Attached) != len(c.servers) {
			return fmt.Errorf("%d of %d servers, %d partitions unavailable, %d short, %d copies to make", len(s.Attached), len(c.servers), s.Unavailable, s.Short, s.Moving)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w%s", name, err, c.logs())
	}
	return nil
}

// remove takes the last server out, with its store: the cluster is what it was before
// that one was added.
func (c *cluster) remove() error {
	last := c.servers[len(c.servers)-1]
	c.drop(last.proc, 15)
	err := c.r.until(30*time.Second, func() error {
		s, err := c.manager.Status(c.r.ctx)
		if err != nil {
			return err
		}
		for _, n := range s.Attached {
			if n.Addr == last.addr && n.State == "fault" {
				return nil
			}
		}
		return fmt.Errorf("%s is not (fault)", last.addr)
	})
	if err != nil {
		return err
	}
	c.servers = c.servers[:len(c.servers)-1]
	if err := c.command("detach"); err != nil {
		return err
	}
	return os.RemoveAll(last.dir)
}

// counted is the sum of a counter of all servers, as kumostat shows it.
func (c *cluster) counted(name string) (sum float64, err error) {
	for _, sv := range c.servers {
		client := tools.NewClient("server", sv.addr)
		values, err := client.Stat(c.r.ctx, "stats", nil)
		client.Close()
		if err != nil {
			return 0, err
		}
		number, ok := values[name].(json.Number)
		if !ok {
			return 0, fmt.Errorf("server %s has no counter %s", sv.addr, name)
		}
		v, err := number.Float64()
		if err != nil {
			return 0, err
		}
		sum += v
	}
	return sum, nil
}

// settle waits until the servers compact nothing any more: what was stored before is not
// to be seen in what is measured next.
func (c *cluster) settle() error {
	last := -1.0
	return c.r.until(10*time.Minute, func() error {
		now, err := c.counted("compactions")
		if err != nil || now == last {
			return err
		}
		last = now
		if err := c.r.sleep(c.r.quiet); err != nil {
			return err
		}
		return fmt.Errorf("%.0f compactions, and more", now)
	})
}
