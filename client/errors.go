package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/kumofs/kumofs/internal/item"
)

// Errors of calls, for errors.Is: many are wrapped with more about them.
var (
	// ErrNotFound: there is no such item.
	ErrNotFound = errors.New("kumofs: not found")
	// ErrNotStored: the item is there (Add), or is not (Replace, Append, Prepend).
	ErrNotStored = errors.New("kumofs: not stored")
	// ErrExists: the item has changed since it was got (CompareAndSwap).
	ErrExists = errors.New("kumofs: the item has changed")
	// ErrNotNumber: the value is no decimal number below 2^64 (Incr, Decr).
	ErrNotNumber = errors.New("kumofs: the value is not a number")
	// ErrTooLarge: the value is larger than Options.MaxItemSize, or would become so.
	// Nothing was changed.
	ErrTooLarge = errors.New("kumofs: the value is too large")
	// ErrBadKey: the key is empty or longer than MaxKey.
	ErrBadKey = errors.New("kumofs: bad key")
	// ErrOutcomeUnknown: a write may have been done, or may be done yet, or not at all.
	ErrOutcomeUnknown = errors.New("kumofs: the outcome is unknown: the write may or may not have been done")
	// ErrUnavailable: no server could do it within Options.Timeout, or one said why
	// it cannot. It was not done.
	ErrUnavailable = errors.New("kumofs: unavailable")
	// ErrNotAllowed: Options do not allow it.
	ErrNotAllowed = errors.New("kumofs: not allowed by the client's options")
	// ErrClosed: the client was closed. It was not done.
	ErrClosed = errors.New("kumofs: the client is closed")
)

// gone is why a call was not done by a client whose loop is ending or has ended.
func (c *Client) gone() error {
	if err := c.failed.Load(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, *err)
	}
	return ErrClosed
}

// result is the error that res means to the caller, whose context is ctx.
// cancelled: the call was ended because of that, or with the client.
func (c *Client) result(ctx context.Context, res *item.Result, cancelled bool) error {
	switch res.Status {
	case item.OK:
		return nil
	case item.NotFound:
		return ErrNotFound
	case item.NotStored:
		return ErrNotStored
	case item.Exists:
		return ErrExists
	case item.NonNumeric:
		return ErrNotNumber
	case item.TooLarge:
		return ErrTooLarge
	}
	why := ctx.Err()
	if !cancelled {
		why = nil
	}
	if why == nil && c.ctx.Err() != nil {
		why = c.gone()
	}
	switch {
	case res.Status == item.FateUnknown && why != nil:
		return fmt.Errorf("%w: %w", ErrOutcomeUnknown, why)
	case res.Status == item.FateUnknown && res.Message != "":
		return fmt.Errorf("%w: %s", ErrOutcomeUnknown, res.Message)
	case res.Status == item.FateUnknown:
		return ErrOutcomeUnknown
	case why != nil:
		return why
	case res.Message != "":
		return fmt.Errorf("%w: %s", ErrUnavailable, res.Message)
	}
	return fmt.Errorf("%w: a server answers status %d, which this client does not know", ErrUnavailable, res.Status)
}
