package certs_test

import (
	"crypto/tls"
	"os"
	"strings"
	"testing"

	"github.com/kumofs/kumofs/internal/certs"
	"github.com/kumofs/kumofs/internal/certs/certstest"
)

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	ca := certstest.New(t, "authority")
	cert, key := ca.Write(dir, "server")
	_, otherKey := ca.Write(dir, "other")
	authority := ca.WriteCA(dir)
	open, err := certs.Load(cert, key, "")
	if err != nil || open.Config().ClientAuth != tls.NoClientCert || open.Config().MinVersion != tls.VersionTLS12 {
		t.Fatalf("%v", err)
	}
	f, err := certs.Load(cert, key, authority)
	if err != nil || f.Config().ClientAuth != tls.RequireAndVerifyClientCert || f.Config().ClientCAs == nil {
		t.Fatalf("%v", err)
	}
	for _, bad := range [][3]string{{cert, otherKey, ""}, {cert, dir + "/none", ""}, {authority + "x", key, ""}, {cert, key, key}, {cert, key, dir + "/none"}} {
		if _, err := certs.Load(bad[0], bad[1], bad[2]); err == nil || !strings.Contains(err.Error(), "TLS ") {
			t.Errorf("%v: %v", bad, err)
		}
	}

	// What was read before holds until all files are good again.
	was := f.Config()
	if err := os.WriteFile(key, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Reload(); err == nil || f.Config() != was {
		t.Error(err)
	}
	ca.Write(dir, "server")
	if err := f.Reload(); err != nil || f.Config() == was {
		t.Error(err)
	}
}
