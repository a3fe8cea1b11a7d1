package item

// relativeLimit is the longest relative exptime, in seconds (30 days). A larger
// number is a Unix time.
const relativeLimit = 60 * 60 * 24 * 30

// expiredAt is the expiry time of an item that is stored already expired. It is
// not 0, which would be never.
const expiredAt = 1

// ResolveExptime turns the exptime of a request into the absolute expiry time
// of the item, in Unix seconds; 0 is never. now is the primary's clock in Unix
// seconds, at least 1.
func ResolveExptime(exptime, now int64) int64 {
	switch {
	case exptime == 0:
		return 0
	case exptime < 0:
		return expiredAt
	case exptime <= relativeLimit:
		return max(now+exptime, expiredAt)
	}
	return exptime
}
