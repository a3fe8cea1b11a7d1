package cli

import "github.com/KimMachineGun/automemlimit/memlimit"

const (
	// cacheShare is how much of the memory a server's cache may have unless it is told.
	cacheShare = 8
	// cacheLeast is the least of it: a cache much smaller than what is read often costs
	// more than it spares.
	cacheLeast = 64 << 20
	// cacheUnknown is it where nobody tells how much memory there is.
	cacheUnknown = 128 << 20
)

// CacheFlag adds --cache-size. What it returns is to be called after Parse: bytes for each
// of so many servers in this process.
func CacheFlag(f *Flags) (size func(servers int) int64) {
	e := &entry{long: "cache-size", value: "SIZE", def: "an eighth of the memory", help: "memory of each server for data that is read often"}
	given := register(f, e, -1, ParseSize)
	return func(servers int) int64 {
		if *given >= 0 {
			return *given
		}
		return defaultCache(servers)
	}
}

func defaultCache(servers int) int64 {
	memory := uint64(0)
	for _, look := range []func() (uint64, error){memlimit.FromCgroup, memlimit.FromSystem} {
		if m, err := look(); err == nil && (memory == 0 || m < memory) {
			memory = m
		}
	}
	if memory == 0 {
		return cacheUnknown
	}
	return max(cacheLeast, int64(memory/cacheShare)/int64(servers))
}
