package secret

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	first  = "the first secret of this test"
	second = "the second secret of this test"
)

func with(t testing.TB, lines ...string) *Secret {
	t.Helper()
	s, err := New(nil, lines...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFile(t *testing.T) {
	for _, c := range []struct{ text, err string }{
		{first, ""},
		{"\r\n  " + first + " \r\n\n" + second + "\n", ""},
		{"", "it is empty"},
		{"\n \n", "it is empty"},
		{"0123456789abcde\n", "a line has 15 bytes"},
		{"  0123456789abcde    \n", "a line has 15 bytes"},
		{first + "\nshort\n", "a line has 5 bytes"},
		{strings.Repeat(first+"\n", maxKeys+1), "more than 16 secrets"},
		{strings.Repeat("x", maxFile+1), "longer than"},
	} {
		path := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(path, nil)
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), path)) {
			t.Errorf("%.40q: %v", c.text, err)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none"), nil); err == nil || !strings.Contains(err.Error(), "cannot read the cluster secret") {
		t.Error(err)
	}
}

func TestReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	write := func(text string, mode os.FileMode) {
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	write(first, 0o640)
	s, err := Load(path, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil || log.Len() > 0 {
		t.Fatal(err, log.String())
	}
	write("short", 0o600)
	if err := s.Reload(); err == nil {
		t.Error("a bad file is taken")
	}
	if err := shake(s, with(t, first), nil); err != nil {
		t.Error("the old secret does not hold: ", err)
	}
	write(second, 0o604)
	if err := s.Reload(); err != nil || !strings.Contains(log.String(), "chmod 600 "+path) {
		t.Error(err, log.String())
	}
	if err := shake(s, with(t, second), nil); err != nil {
		t.Error(err)
	}
	if err := shake(s, with(t, first), nil); err != ErrOther {
		t.Error(err)
	}
}

// shake is a whole handshake. bent, if any, alters what is under way: 0 is the hello,
// 1 the answer, 2 the proof. It gives the error of whoever refuses first.
func shake(dialer, acceptor *Secret, bent func(step int, b []byte)) error {
	bend := func(step int, b []byte) []byte {
		if bent != nil {
			bent(step, b)
		}
		return b
	}
	d, a := dialer.Dialer(), acceptor.Acceptor()
	out, _, _, aerr := a.Step(bend(0, d.Hello()))
	if len(out) == 0 {
		return aerr
	}
	proof, err := d.Answer(bend(1, out))
	if err != nil {
		return err
	}
	if aerr != nil {
		return aerr
	}
	_, _, done, err := a.Step(bend(2, proof))
	if err == nil && !done {
		return ErrIncomplete
	}
	return err
}

func TestHandshake(t *testing.T) {
	a, b, old, next := with(t, first), with(t, second), with(t, first, second), with(t, second, first)
	for name, c := range map[string]struct {
		dialer, acceptor *Secret
		want             error
	}{
		"same":                {a, a, nil},
		"another":             {a, b, ErrOther},
		"none":                {a, nil, ErrNone},
		"rotation, old dials": {a, old, nil},
		"rotation, both":      {old, next, nil},
		"rotation, new dials": {next, old, nil},
		"rotation, last":      {b, next, nil},
		"rotation, too early": {next, a, ErrOther},
	} {
		if err := shake(c.dialer, c.acceptor, nil); err != c.want {
			t.Errorf("%s: %v, not %v", name, err, c.want)
		}
	}
}

// No bit of a handshake can be another.
func TestEveryBitCounts(t *testing.T) {
	s := with(t, first)
	for step, size := range []int{helloBytes, answerBytes, macBytes} {
		for bit := range 8 * size {
			if err := shake(s, s, func(at int, b []byte) {
				if at == step {
					b[bit/8] ^= 1 << (bit % 8)
				}
			}); err == nil {
				t.Errorf("step %d: bit %d does not matter", step, bit)
			}
		}
	}
}

// A proof is worth nothing elsewhere: sent back to who made it, or again later.
func TestProofsAreForOneUse(t *testing.T) {
	s := with(t, first)
	a1, a2 := s.Acceptor(), s.Acceptor()
	d := s.Dialer()
	hello := d.Hello()
	answer, _, _, err := a1.Step(hello)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, done, err := a1.Step(answer[len(answer)-macBytes:]); done || err != ErrFalse {
		t.Error("the acceptor's own proof is taken from a dialer: ", err)
	}
	proof, err := d.Answer(answer)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := a2.Step(hello); err != nil {
		t.Fatal(err)
	}
	if _, _, done, err := a2.Step(proof); done || err != ErrFalse {
		t.Error("a recorded handshake is taken again: ", err)
	}
	if _, err := s.Dialer().Answer(answer); err != ErrFalse {
		t.Error("a recorded answer is taken again: ", err)
	}
}

// Whatever comes, in whatever pieces: nobody gets through without the key, nothing
// panics, and no more is taken than is there.
func FuzzAcceptor(f *testing.F) {
	s := with(f, first)
	f.Add(s.Dialer().Hello(), []byte{1, 2, 3}, uint8(7))
	f.Add(with(f, second).Dialer().Hello(), []byte(nil), uint8(200))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), []byte("KMDT\x01"), uint8(1))
	f.Fuzz(func(t *testing.T, in, more []byte, piece uint8) {
		for _, sec := range []*Secret{s, nil} {
			a := sec.Acceptor()
			var have []byte
			for rest := append(bytes.Clone(in), more...); len(rest) > 0; {
				n := min(len(rest), int(piece)+1)
				have, rest = append(have, rest[:n]...), rest[n:]
				out, used, done, err := a.Step(have)
				if done {
					t.Fatal("it got through")
				}
				if used < 0 || used > len(have) || len(out) != 0 && len(out) != answerBytes {
					t.Fatalf("used %d of %d, %d to send", used, len(have), len(out))
				}
				if err != nil {
					break
				}
				have = have[used:]
			}
		}
	})
}

func FuzzDialer(f *testing.F) {
	s := with(f, first)
	answer, _, _, _ := s.Acceptor().Step(s.Dialer().Hello())
	f.Add(answer)
	none, _, _, _ := (*Secret)(nil).Acceptor().Step(s.Dialer().Hello())
	f.Add(none)
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if proof, err := s.Dialer().Answer(in); proof != nil || err == nil && len(in) >= answerBytes {
			t.Fatalf("%x: %v", proof, err)
		}
	})
}

func FuzzFile(f *testing.F) {
	f.Add([]byte(first + "\n" + second))
	f.Add([]byte("\xff\x00\n\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := parse(text)
		if (err == nil) != (len(keys) > 0) || len(keys) > maxKeys {
			t.Fatal(len(keys), err)
		}
	})
}
