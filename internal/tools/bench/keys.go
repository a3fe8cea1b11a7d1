package bench

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
)

// A Distribution says how often each key is used.
type Distribution struct {
	// Exponent is that of Zipf's law: the key of rank r is used in proportion to
	// r**-Exponent. 0 is uniform.
	Exponent float64
}

// defaultExponent is that of YCSB.
const defaultExponent = 0.99

// ParseDistribution reads "uniform", "zipf" or "zipf:EXPONENT".
func ParseDistribution(s string) (Distribution, error) {
	name, exponent, given := strings.Cut(s, ":")
	switch {
	case s == "uniform":
		return Distribution{}, nil
	case name == "zipf" && !given:
		return Distribution{defaultExponent}, nil
	case name == "zipf":
		e, err := strconv.ParseFloat(exponent, 64)
		if err != nil || !(e > 0 && e <= 10) {
			return Distribution{}, errors.New("the exponent must be more than 0 and at most 10")
		}
		return Distribution{e}, nil
	}
	return Distribution{}, errors.New("must be uniform, zipf or zipf:EXPONENT")
}

// String is what ParseDistribution reads.
func (d Distribution) String() string {
	if d.Exponent == 0 {
		return "uniform"
	}
	return fmt.Sprintf("zipf:%g", d.Exponent)
}

// picker draws keys 0 to n-1. With Zipf's law key 0 is the most frequent: servers
// hash keys, so it does not matter that frequent ones have numbers side by side.
type picker struct {
	n    uint64
	zipf *zipf
}

func newPicker(d Distribution, n uint64) *picker {
	p := &picker{n: n}
	if d.Exponent > 0 {
		p.zipf = newZipf(d.Exponent, n)
	}
	return p
}

func (p *picker) pick(r *rand.Rand) uint64 {
	if p.zipf != nil {
		return p.zipf.pick(r)
	}
	return r.Uint64N(p.n)
}

// zipf draws by rejection-inversion (Hörmann and Derflinger, 1996), which takes any
// exponent above 0; rand.Zipf takes only those above 1.
type zipf struct {
	s, n             float64
	first, last, cut float64
}

func newZipf(s float64, n uint64) *zipf {
	z := &zipf{s: s, n: float64(n)}
	z.first = z.integral(1.5) - 1
	z.last = z.integral(z.n + 0.5)
	z.cut = 2 - z.inverse(z.integral(2.5)-z.h(2))
	return z
}

func (z *zipf) pick(r *rand.Rand) uint64 {
	for {
		u := z.last + r.Float64()*(z.first-z.last)
		x := z.inverse(u)
		k := min(max(math.Floor(x+0.5), 1), z.n)
		if k-x <= z.cut || u >= z.integral(k+0.5)-z.h(k) {
			return uint64(k) - 1
		}
	}
}

// h is x**-s, the weight of rank x.
func (z *zipf) h(x float64) float64 { return math.Exp(-z.s * math.Log(x)) }

// integral is that of h from 1 to x, and inverse finds x for it.
func (z *zipf) integral(x float64) float64 {
	l := math.Log(x)
	return expm1Over((1-z.s)*l) * l
}

func (z *zipf) inverse(u float64) float64 {
	t := max(u*(1-z.s), -1) // rounding may pass the end
	return math.Exp(log1pOver(t) * u)
}

// expm1Over is (exp(x)-1)/x, also near 0.
func expm1Over(x float64) float64 {
	if math.Abs(x) > 1e-8 {
		return math.Expm1(x) / x
	}
	return 1 + x/2
}

// log1pOver is log(1+x)/x, also near 0.
func log1pOver(x float64) float64 {
	if math.Abs(x) > 1e-8 {
		return math.Log1p(x) / x
	}
	return 1 - x/2
}

// Keys look like bench:0000000042: all of one length, so that the numbers of one
// measurement are those of another.
const (
	keyPrefix = "bench:"
	keyDigits = 10
	// KeySize is the length of every key.
	KeySize = len(keyPrefix) + keyDigits
	// maxKeys is how many have a name.
	maxKeys = 10_000_000_000
)

// AppendKey appends the name of a key.
func AppendKey(b []byte, key uint64) []byte {
	b = append(b, keyPrefix+"0000000000"...)
	for i := len(b) - 1; key > 0; i-- {
		b[i] = byte('0' + key%10)
		key /= 10
	}
	return b
}

// parseKey is the key of a name.
func parseKey(name []byte) (key uint64, ok bool) {
	if len(name) != KeySize || string(name[:len(keyPrefix)]) != keyPrefix {
		return 0, false
	}
	return parseNumber(name[len(keyPrefix):])
}

// parseNumber reads decimal digits and nothing else.
func parseNumber(b []byte) (n uint64, ok bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}
