// Package certs is a TLS server's files: its certificate, its key, and the authorities
// that its clients' certificates are from. They can be read again while it serves.
package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
)

// Files are PEM files. All methods may be called from anywhere.
type Files struct {
	cert, key, ca string
	now           atomic.Pointer[tls.Config]
}

// Load reads a certificate (with those between it and its authority behind it), its key,
// and unless ca is "" the certificates of the authorities: then every client needs a
// certificate from one of these.
func Load(cert, key, ca string) (*Files, error) {
	f := &Files{cert: cert, key: key, ca: ca}
	if err := f.Reload(); err != nil {
		return nil, err
	}
	return f, nil
}

// Reload reads the files again, for the connections to come. After an error the
// configuration of before stays.
func (f *Files) Reload() error {
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return fmt.Errorf("TLS certificate %s with key %s: %w", f.cert, f.key, err)
	}
	// A new configuration has new keys for session tickets too: a session that was begun
	// under old authorities does not outlive them.
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	if f.ca != "" {
		if c.ClientCAs, err = authorities(f.ca); err != nil {
			return fmt.Errorf("TLS authorities %s: %w", f.ca, err)
		}
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	f.now.Store(c)
	return nil
}

func authorities(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("there is no certificate in it")
	}
	return pool, nil
}

// Config is the present configuration, which must not be altered.
func (f *Files) Config() *tls.Config { return f.now.Load() }
