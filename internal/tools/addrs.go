package tools

import (
	"errors"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/secret"
)

// ManagerFlag registers -m, a list of managers that are tried in order.
func ManagerFlag(f *cli.Flags, help string) *string {
	return f.String("m", "manager", "ADDR[:PORT=19700],...", "", help)
}

// SecretFlag registers --cluster-secret-file. The function reads the file after Parse; it
// gives nil where the flag was not given.
func SecretFlag(f *cli.Flags) func() (*secret.Secret, error) {
	path := new(string)
	cli.SecretFlag(f, path)
	return func() (*secret.Secret, error) {
		if *path == "" {
			return nil, nil
		}
		return secret.Load(*path, nil)
	}
}

// ResolveAny resolves a comma list of addresses, any of which will do: a name
// that is unknown now is passed over while another is known.
func ResolveAny(f *cli.Flags, list string, defaultPort int) ([]string, error) {
	var addrs []string
	var unknown error
	for _, name := range cli.SplitList(list) {
		addr, err := cli.ResolveAddr(name, defaultPort)
		switch {
		case errors.Is(err, cli.ErrUnknownHost):
			unknown = err
		case err != nil:
			return nil, f.UsageError("%s", err)
		default:
			addrs = cli.MergeAddrs(addrs, []string{addr})
		}
	}
	if len(addrs) > 0 {
		return addrs, nil
	}
	if unknown != nil {
		return nil, unknown
	}
	return nil, f.UsageError("no address in %q", list)
}
