package cli

// KumofsUsage is the help of the program kumofs, whose commands have flags of their own.
const KumofsUsage = `usage: kumofs COMMAND [flags]

Commands:
  local      run a cluster in this process: a manager, servers and a memcached port
  health     ask a daemon for its health; exit status 1 if it is not well
  version    print the version

kumofs COMMAND --help shows the flags of the first two.
`

// LocalOptions are the command line of `kumofs local`.
type LocalOptions struct {
	Servers   int
	Port      int
	Data      string
	Fsync     bool
	CacheSize int64 // of each server
	Verbose   bool
	Log       string // -o: a path, "-" or "" for standard output
	LogForm   LogOptions
	Serve     ServeOptions
	Access    Access
}

// LocalFlags makes the command line of `kumofs local`; Parse fills the options.
func LocalFlags() (*Flags, *LocalOptions) {
	f := NewFlags("kumofs local", "[--servers N] [--port PORT] [--data DIR] [flags]")
	f.About("A cluster in one process: a manager, servers, and memcached on 127.0.0.1.\nThe data stays when it is stopped, and is used again.")
	o := &LocalOptions{}
	servers := f.Int("", "servers", "N", 3, 1, 64, "servers to run")
	port := f.Port("", "port", 11211, "port of memcached, on 127.0.0.1")
	data := f.String("", "data", "DIR", "./kumofs-data", "directory of the data")
	boolVar(f, &o.Fsync, "", "fsync", "acknowledge a write only when it is safe from power loss")
	cache := CacheFlag(f)
	boolVar(f, &o.Verbose, "v", "verbose", "log events too")
	stringVar(f, &o.Log, "o", "log", "PATH", "append the log to this file")
	LogFlags(f, &o.LogForm)
	ServeFlags(f, &o.Serve)
	f.Check(func() error {
		o.Servers, o.Port, o.Data, o.CacheSize = *servers, *port, *data, cache(*servers)
		return nil
	})
	accessFlags(f, &o.Access, nil, o.Serve.ports)
	f.NoArgs()
	return f, o
}
