package client

import (
	"context"
	"fmt"
	"time"

	"github.com/kumofs/kumofs/internal/item"
)

// Get returns the item, or ErrNotFound.
func (c *Client) Get(ctx context.Context, key string) (*Item, error) {
	return c.read(ctx, key, item.Request{Op: item.OpGet})
}

// GetAndTouch is Get that also sets when the item expires.
func (c *Client) GetAndTouch(ctx context.Context, key string, expires time.Time) (*Item, error) {
	return c.read(ctx, key, item.Request{Op: item.OpGetAndTouch, Exptime: exptime(expires)})
}

func (c *Client) read(ctx context.Context, key string, req item.Request) (*Item, error) {
	res, err := c.on(ctx, key, req)
	if err != nil {
		return nil, err
	}
	return newItem(key, &res.Item), nil
}

// on does req on key.
func (c *Client) on(ctx context.Context, key string, req item.Request) (*item.Result, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	req.Key = []byte(key)
	return c.do(ctx, req)
}

// multiKeys and multiBytes bound how many keys of a GetMulti are asked for at a time.
const multiKeys = 512

// GetMulti returns the items that exist, by their keys. It is a set of independent
// gets: each finds its item at an instant of its own. With an error, that of a get
// that failed, the map has what others found.
//
// Of many keys some hundreds are asked for at a time.
func (c *Client) GetMulti(ctx context.Context, keys []string) (map[string]*Item, error) {
	found := make(map[string]*Item, len(keys))
	for len(keys) > 0 {
		n := min(len(keys), multiKeys)
		if err := c.getSome(ctx, keys[:n], found); err != nil {
			return found, err
		}
		keys = keys[n:]
	}
	return found, nil
}

func (c *Client) getSome(ctx context.Context, keys []string, found map[string]*Item) error {
	reqs := make([]item.Request, len(keys))
	cost := 0
	for i, key := range keys {
		if err := checkKey(key); err != nil {
			return err
		}
		reqs[i] = item.Request{Op: item.OpGet, Key: []byte(key)}
		cost += len(key) + callCost
	}
	b := c.newBatch(reqs...)
	if err := b.run(ctx, cost); err != nil {
		return err
	}
	var first error
	for i, key := range keys {
		res := &b.cmds[i].result
		switch err := c.result(ctx, res, b.cancelled); {
		case err == nil:
			found[key] = newItem(key, &res.Item)
		case res.Status != item.NotFound && first == nil:
			first = fmt.Errorf("%q: %w", key, err)
		}
	}
	return first
}

// Set stores the item, whatever there was. Like the other writes of an Item it
// sets it.CAS to the new one, and leaves it alone otherwise.
func (c *Client) Set(ctx context.Context, it *Item) error {
	return c.store(ctx, it, item.Request{Op: item.OpSet})
}

// Add stores the item if there is none of its key, else ErrNotStored.
func (c *Client) Add(ctx context.Context, it *Item) error {
	return c.store(ctx, it, item.Request{Op: item.OpAdd})
}

// Replace stores the item if there is one of its key, else ErrNotStored.
func (c *Client) Replace(ctx context.Context, it *Item) error {
	return c.store(ctx, it, item.Request{Op: item.OpReplace})
}

// CompareAndSwap stores the item if it has not changed since it was got: if its CAS
// is still it.CAS. Else it is ErrExists, or ErrNotFound when the item is gone.
func (c *Client) CompareAndSwap(ctx context.Context, it *Item) error {
	return c.store(ctx, it, item.Request{Op: item.OpCAS, CAS: it.CAS})
}

func (c *Client) store(ctx context.Context, it *Item, req item.Request) error {
	if len(it.Value) > c.opt.MaxItemSize {
		return ErrTooLarge
	}
	req.Value, req.Flags, req.Exptime = it.Value, it.Flags, exptime(it.Expires)
	res, err := c.on(ctx, it.Key, req)
	if err == nil {
		it.CAS = res.Item.CAS()
	}
	return err
}

// Append adds value to the end of the item's value; Prepend, to the beginning.
// Flags and expiry stay. Without an item it is ErrNotStored.
func (c *Client) Append(ctx context.Context, key string, value []byte) error {
	return c.extend(ctx, key, value, item.OpAppend)
}

// Prepend is described at Append.
func (c *Client) Prepend(ctx context.Context, key string, value []byte) error {
	return c.extend(ctx, key, value, item.OpPrepend)
}

func (c *Client) extend(ctx context.Context, key string, value []byte, op item.Op) error {
	if len(value) > c.opt.MaxItemSize {
		return ErrTooLarge
	}
	_, err := c.on(ctx, key, item.Request{Op: op, Value: value, MaxItemSize: uint32(c.opt.MaxItemSize)})
	return err
}

// Incr adds delta to the decimal number that is the item's value, modulo 2^64, and
// returns the sum. Without an item it is ErrNotFound.
func (c *Client) Incr(ctx context.Context, key string, delta uint64) (uint64, error) {
	return c.arithmetic(ctx, key, delta, item.OpIncr)
}

// Decr is Incr that subtracts. It stops at 0.
func (c *Client) Decr(ctx context.Context, key string, delta uint64) (uint64, error) {
	return c.arithmetic(ctx, key, delta, item.OpDecr)
}

func (c *Client) arithmetic(ctx context.Context, key string, delta uint64, op item.Op) (uint64, error) {
	res, err := c.on(ctx, key, item.Request{Op: op, Delta: delta})
	if err != nil {
		return 0, err
	}
	return res.Number, nil
}

// Touch sets when the item expires; the zero time is never. Its CAS stays.
func (c *Client) Touch(ctx context.Context, key string, expires time.Time) error {
	_, err := c.on(ctx, key, item.Request{Op: item.OpTouch, Exptime: exptime(expires)})
	return err
}

// Delete removes the item, or is ErrNotFound.
func (c *Client) Delete(ctx context.Context, key string) error {
	_, err := c.on(ctx, key, item.Request{Op: item.OpDelete})
	return err
}
