package control

import (
	"net/http/httptest"
	"testing"
)

func TestWriteHealth(t *testing.T) {
	for _, c := range []struct {
		reasons []string
		code    int
		body    string
	}{
		{nil, 200, `{"status":"ok"}`},
		{[]string{"a", "b"}, 503, `{"status":"failing","reasons":["a","b"],"error":"a; b"}`},
	} {
		w := httptest.NewRecorder()
		WriteHealth(w, c.reasons...)
		if w.Code != c.code || w.Body.String() != c.body+"\n" {
			t.Errorf("%v: %d %q", c.reasons, w.Code, w.Body.String())
		}
	}
}
