package cli

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Access says who may come in: on the ports for other kumofs processes, which have the
// cluster secret, and as a client of memcached.
type Access struct {
	SecretFile  string // "": no cluster secret
	RequireAuth bool   // to let anybody in is an error
	OpenMetrics bool   // monitoring needs no secret
	Memcached   MemcachedAccess
}

// MemcachedAccess is how the clients of memcached are told apart.
type MemcachedAccess struct {
	Cert, Key, CA string // TLS, PEM files; all "": no TLS. CA "": any client
	AuthFile      string // user:password lines; "": nobody is asked
}

// SecretFlag registers --cluster-secret-file, which daemons and tools take.
func SecretFlag(f *Flags, dst *string) {
	stringVar(f, dst, "", "cluster-secret-file", "FILE", "what all processes of the cluster know, and prove to each other")
	f.Check(func() error { return f.notEmpty("cluster-secret-file", *dst) })
}

// notEmpty refuses a path that was given and is "", as an unset variable of a script is.
func (f *Flags) notEmpty(name, path string) error {
	if f.Given(name) && path == "" {
		return f.BadValue(name, path, errors.New("must be a path"))
	}
	return nil
}

// accessFlags registers the flags of a daemon. peers gives the addresses that other
// processes of the cluster connect to, memcached those of its clients, both after Parse;
// nil: it has none.
func accessFlags(f *Flags, a *Access, peers, memcached func() []string) {
	SecretFlag(f, &a.SecretFile)
	boolVar(f, &a.RequireAuth, "", "require-auth", "end instead of warning where a port lets anybody in")
	if peers != nil {
		boolVar(f, &a.OpenMetrics, "", "open-metrics", "answer /metrics, /healthz and /readyz to who has not got the cluster secret")
	}
	if memcached != nil {
		m := &a.Memcached
		stringVar(f, &m.Cert, "", "tls-cert", "FILE", "serve memcached over TLS with this certificate (PEM)")
		stringVar(f, &m.Key, "", "tls-key", "FILE", "the certificate's key (PEM)")
		stringVar(f, &m.CA, "", "tls-ca", "FILE", "clients need a certificate from one of these authorities (PEM)")
		stringVar(f, &m.AuthFile, "", "auth-file", "FILE", "clients need a user and password of this file: lines user:password")
		f.Check(func() error { return m.check(f) })
	}
	f.Check(func() error {
		if peers != nil {
			if open := beyondLoopback(peers()); len(open) > 0 && a.SecretFile == "" {
				if err := a.open(f, "anybody who reaches %s can read, alter and destroy all data: "+
					"give every process of the cluster a --cluster-secret-file, or keep the port within a trusted network", open); err != nil {
					return err
				}
			}
		}
		if memcached == nil || a.Memcached.asks() {
			return nil
		}
		if open := beyondLoopback(memcached()); len(open) > 0 {
			return a.open(f, "anybody who reaches %s can read and alter all data through memcached: "+
				"give --auth-file, or --tls-cert, --tls-key and --tls-ca, or keep the port within a trusted network", open)
		}
		return nil
	})
}

// consoleFlags registers where a manager serves its console beside its own port, and
// whether the page may give commands.
func consoleFlags(f *Flags, o *ManagerOptions) {
	stringVar(f, &o.HTTP, "", "http", "[ADDR:]PORT", "serve the console, /metrics and /healthz here too, to who has no cluster secret; on loopback unless ADDR is given")
	boolVar(f, &o.ConsoleCommands, "", "console-commands", "let the console's page attach, detach, replace and pause")
	f.Check(func() error {
		if f.Given("http") {
			addr, err := resolvePages(o.HTTP)
			if err != nil {
				return f.BadValue("http", o.HTTP, err)
			}
			o.HTTP = addr
		}
		open := beyondLoopback([]string{o.HTTP})
		switch {
		case len(open) == 0:
			return nil
		case o.ConsoleCommands:
			return o.Access.open(f, "anybody who reaches %s can command the cluster in the console: leave out --console-commands, or keep the port within a trusted network", open)
		}
		return o.Access.open(f, "anybody who reaches %s can see in the console which servers there are and what they do: keep the port within a trusted network", open)
	})
}

// resolvePages turns "[ADDR:]PORT" into what net.Listen takes, on loopback where there is
// no address; "*" is all interfaces.
func resolvePages(s string) (string, error) {
	addr, err := ResolveListen(s, 0)
	if err != nil {
		return "", err
	}
	if port, bare := strings.CutPrefix(addr, ":"); bare && !strings.HasPrefix(s, "*") {
		addr = "127.0.0.1:" + port
	}
	if strings.HasSuffix(addr, ":0") {
		return "", errors.New("the port is missing")
	}
	return addr, nil
}

// check refuses half a set of TLS's files.
func (m *MemcachedAccess) check(f *Flags) error {
	for name, path := range map[string]string{"tls-cert": m.Cert, "tls-key": m.Key, "tls-ca": m.CA, "auth-file": m.AuthFile} {
		if err := f.notEmpty(name, path); err != nil {
			return err
		}
	}
	switch {
	case (m.Cert == "") != (m.Key == ""):
		return errors.New("--tls-cert and --tls-key belong together")
	case m.CA != "" && m.Cert == "":
		return errors.New("--tls-ca needs --tls-cert and --tls-key")
	}
	return nil
}

// asks tells whether a client has to show who he is. TLS without --tls-ca encrypts, and
// lets anybody in.
func (m *MemcachedAccess) asks() bool { return m.CA != "" || m.AuthFile != "" }

// open says that ports are open to anybody, as a warning or with --require-auth as an error.
func (a *Access) open(f *Flags, text string, addrs []string) error {
	text = fmt.Sprintf(text, strings.Join(addrs, ", "))
	if a.RequireAuth {
		return fmt.Errorf("--require-auth: %s", text)
	}
	f.Warn("%s", text)
	return nil
}

// beyondLoopback are those of addrs that other machines can reach.
func beyondLoopback(addrs []string) (open []string) {
	for _, a := range addrs {
		if a == "" {
			continue
		}
		ap, err := netip.ParseAddrPort(a)
		if err != nil { // ":port": all interfaces
			a = "port " + strings.TrimPrefix(a, ":")
		} else if ap.Addr().Unmap().IsLoopback() {
			continue
		}
		open = append(open, a)
	}
	return open
}
