package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// value is a flag.Value made of functions, so that each kind of flag is only
// its parser.
type value struct {
	set  func(string) error
	bool bool
}

// Set parses the text given on the command line.
func (v *value) Set(s string) error { return v.set(s) }

// String is asked by package flag for its own help, which is not used.
func (v *value) String() string { return "" }

// IsBoolFlag is asked by package flag.
func (v *value) IsBoolFlag() bool { return v.bool }

// nameOf is the name by which Flags finds an entry.
func nameOf(short, long string) string {
	if long != "" {
		return long
	}
	return short
}

// register adds a flag with a parser and returns where its value will be.
func register[T any](f *Flags, e *entry, def T, parse func(string) (T, error)) *T {
	dst := new(T)
	*dst = def
	f.add(e, &value{set: func(s string) error {
		v, err := parse(s)
		if err == nil {
			*dst = v
		}
		return err
	}})
	return dst
}

// String adds a flag with any text as its value. valueName is how the help
// names the value; "" makes it VALUE.
func (f *Flags) String(short, long, valueName, def, help string) *string {
	e := &entry{short: short, long: long, value: orValue(valueName), def: def, help: help}
	return register(f, e, def, func(s string) (string, error) { return s, nil })
}

// Strings adds a flag that may be given several times; its values are in that order.
func (f *Flags) Strings(short, long, valueName, help string) *[]string {
	dst := new([]string)
	f.add(&entry{short: short, long: long, value: orValue(valueName), help: help}, &value{set: func(s string) error {
		*dst = append(*dst, s)
		return nil
	}})
	return dst
}

// Bool adds a switch.
func (f *Flags) Bool(short, long, help string) *bool {
	dst := new(bool)
	f.add(&entry{short: short, long: long, help: help}, &value{bool: true, set: func(s string) error {
		v, err := strconv.ParseBool(s)
		if err != nil {
			return errors.New("must be true or false")
		}
		*dst = v
		return nil
	}})
	return dst
}

// Int adds a whole number within lo to hi.
func (f *Flags) Int(short, long, valueName string, def, lo, hi int, help string) *int {
	e := &entry{short: short, long: long, value: valueName, def: strconv.Itoa(def), help: help}
	return register(f, e, def, func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err != nil {
			return 0, errors.New("must be a whole number")
		}
		if n < lo || n > hi {
			return 0, fmt.Errorf("must be within %d to %d", lo, hi)
		}
		return n, nil
	})
}

// Seconds adds a duration, given in seconds ("2", "0.5") or with a unit ("500ms").
// It must be positive.
func (f *Flags) Seconds(short, long string, def time.Duration, help string) *time.Duration {
	e := &entry{short: short, long: long, value: "SEC", def: showSeconds(def), help: help}
	return register(f, e, def, ParseSeconds)
}

// Size adds a number of bytes: "65536", "64M", "1G".
func (f *Flags) Size(short, long string, def int64, help string) *int64 {
	e := &entry{short: short, long: long, value: "SIZE", def: ShowSize(def), help: help}
	return register(f, e, def, ParseSize)
}

// Rate adds a number of bytes a second: "64M/s", "64M"; 0 is no limit.
func (f *Flags) Rate(short, long string, def int64, help string) *int64 {
	e := &entry{short: short, long: long, value: "SIZE/s", def: ShowSize(def) + "/s", help: help}
	return register(f, e, def, func(s string) (int64, error) {
		return ParseSize(strings.TrimSuffix(s, "/s"))
	})
}

// Amount is a part of a disk: bytes, or percent of it.
type Amount struct {
	Bytes   int64
	Percent float64
}

// Amount adds a part of a disk: "10G", "5%".
func (f *Flags) Amount(short, long, def, help string) *Amount {
	e := &entry{short: short, long: long, value: "SIZE|N%", def: def, help: help}
	a, err := ParseAmount(def)
	if err != nil {
		panic("cli: a bad default of --" + long) // a mistake in this program
	}
	return register(f, e, a, ParseAmount)
}

// ParseAmount reads a size, or a number of percent less than 100.
func ParseAmount(s string) (Amount, error) {
	n, isPercent := strings.CutSuffix(s, "%")
	if !isPercent {
		b, err := ParseSize(s)
		if err != nil {
			err = errors.New("must be a size such as 10G, or a part such as 5%")
		}
		return Amount{Bytes: b}, err
	}
	p, err := strconv.ParseFloat(n, 64)
	if err != nil || !(p >= 0 && p < 100) {
		return Amount{}, errors.New("must be a size such as 10G, or a part such as 5%")
	}
	return Amount{Percent: p}, nil
}

// Addr adds an address, resolved to a numeric ip:port; def is resolved too
// unless it is "".
func (f *Flags) Addr(short, long, def string, defaultPort int, help string) *string {
	e := &entry{short: short, long: long, value: addrValue(defaultPort), def: def, help: help}
	addr, err := "", error(nil)
	if def != "" {
		addr, err = ResolveAddr(def, defaultPort)
	}
	f.Check(func() error {
		if err != nil && !e.given {
			return f.BadValue(nameOf(short, long), def, err)
		}
		return nil
	})
	return register(f, e, addr, func(s string) (string, error) { return ResolveAddr(s, defaultPort) })
}

// AddrList adds a comma list of addresses, resolved.
func (f *Flags) AddrList(short, long string, defaultPort int, help string) *[]string {
	e := &entry{short: short, long: long, value: addrValue(defaultPort) + ",...", help: help}
	return register(f, e, nil, func(s string) ([]string, error) {
		list, err := ResolveList(s, defaultPort)
		if err == nil && len(list) == 0 {
			err = errors.New("no address in it")
		}
		return list, err
	})
}

// Listen adds [ADDR:]PORT; without an address all interfaces. It is "" unless given.
func (f *Flags) Listen(short, long string, defaultPort int, help string) *string {
	e := &entry{short: short, long: long, value: fmt.Sprintf("[ADDR:]PORT=%d", defaultPort), help: help}
	return register(f, e, "", func(s string) (string, error) { return ResolveListen(s, defaultPort) })
}

// Port adds a port number.
func (f *Flags) Port(short, long string, def int, help string) *int {
	return f.Int(short, long, "PORT", def, 1, 65535, help)
}

// Ignored adds a flag of the past: it is taken, its value is not looked at, and
// the log says once why it has no effect.
func (f *Flags) Ignored(short, long string, takesValue bool, why string) {
	e := &entry{short: short, long: long, help: why, ignored: true}
	if takesValue {
		e.value = "N"
	}
	said := false
	f.add(e, &value{bool: !takesValue, set: func(string) error {
		if !said {
			said = true
			f.Warn("flag %s has no effect: %s", f.named(nameOf(short, long)), why)
		}
		return nil
	}})
}

func orValue(name string) string {
	if name == "" {
		return "VALUE"
	}
	return name
}

func addrValue(port int) string { return fmt.Sprintf("ADDR[:PORT=%d]", port) }

// ParseSeconds reads "2", "0.5" or "500ms".
func ParseSeconds(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		d, err = time.ParseDuration(s + "s")
	}
	if err != nil {
		return 0, errors.New("must be a number of seconds")
	}
	if d <= 0 {
		return 0, errors.New("must be more than 0 seconds")
	}
	return d, nil
}

// ParseSize reads a number of bytes with an optional K, M, G or T (powers of
// 1024; a B or iB after it is taken too).
func ParseSize(s string) (int64, error) {
	digits := strings.TrimRight(s, "kKmMgGtTiIbB")
	unit := strings.ToUpper(s[len(digits):])
	unit = strings.TrimSuffix(strings.TrimSuffix(unit, "B"), "I")
	shift, ok := map[string]uint{"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[unit]
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || !ok || n < 0 || n != n || n*float64(int64(1)<<shift) >= 1<<62 {
		return 0, errors.New("must be a size such as 65536, 64M or 1G")
	}
	return int64(n * float64(int64(1)<<shift)), nil
}

// ShowSize is a number of bytes in the largest unit that shows it exactly.
func ShowSize(n int64) string {
	units := []string{"", "K", "M", "G", "T"}
	i := 0
	for n != 0 && n%1024 == 0 && i < len(units)-1 {
		n /= 1024
		i++
	}
	return strconv.FormatInt(n, 10) + units[i]
}
