package cli

import (
	"crypto/tls"
	"log/slog"

	"github.com/kumofs/kumofs/internal/auth"
	"github.com/kumofs/kumofs/internal/certs"
	"github.com/kumofs/kumofs/internal/secret"
)

// Gates are the files of an Access, read. What was not asked for is nil.
type Gates struct {
	Secret *secret.Secret
	TLS    func() *tls.Config
	Auth   func(user, password []byte) bool
}

// Gates reads the files. Until close is called they are read again at each SIGHUP; one
// that is not as it has to be is said in the log, and what it was before holds.
func (a *Access) Gates(log *slog.Logger) (g *Gates, close func(), err error) {
	g = &Gates{}
	reload := map[string]func() error{}
	if a.SecretFile != "" {
		if g.Secret, err = secret.Load(a.SecretFile, log); err != nil {
			return nil, nil, err
		}
		reload["the cluster secret"] = g.Secret.Reload
	}
	m := &a.Memcached
	if m.Cert != "" {
		files, err := certs.Load(m.Cert, m.Key, m.CA)
		if err != nil {
			return nil, nil, err
		}
		g.TLS, reload["the TLS certificates"] = files.Config, files.Reload
	}
	if m.AuthFile != "" {
		users, err := auth.Load(m.AuthFile, log)
		if err != nil {
			return nil, nil, err
		}
		g.Auth, reload["the users of memcached"] = users.Check, users.Reload
	}
	if len(reload) == 0 {
		return g, func() {}, nil
	}
	return g, onHangup(func() {
		for what, again := range reload {
			if err := again(); err != nil {
				log.Error("what was read before holds, for a file cannot be read again", "of", what, "error", err)
			} else {
				log.Info("read again at SIGHUP: " + what)
			}
		}
	}), nil
}
