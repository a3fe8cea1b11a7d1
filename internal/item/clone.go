package item

import "unsafe"

// Clone is a copy of it with a value of its own. Item and value lie in one piece of
// memory if the value is short: one allocation, and whoever reads the item has the
// beginning of its value at hand.
func (it *Item) Clone() *Item {
	n := len(it.Value)
	if n > maxBlock {
		c := *it
		c.Value = append([]byte{}, it.Value...)
		return &c
	}
	c, value := blocks[(n+blockStep-1)/blockStep]()
	*c = *it
	c.Value = unsafe.Slice(value, n)
	copy(c.Value, it.Value)
	return c
}

const (
	blockStep = 16
	maxBlock  = 432
)

// blocks make an item with room behind it for a value of up to blockStep times the
// index. The rooms are such that items with them are of the allocator's sizes.
var blocks = [maxBlock/blockStep + 1]func() (*Item, *byte){
	block[[8]byte], block[[24]byte], block[[40]byte], block[[56]byte], block[[72]byte], block[[88]byte], block[[104]byte],
	block[[120]byte], block[[136]byte], block[[152]byte], block[[168]byte], block[[184]byte], block[[216]byte], block[[216]byte],
	block[[248]byte], block[[248]byte], block[[280]byte], block[[280]byte], block[[312]byte], block[[312]byte], block[[344]byte],
	block[[344]byte], block[[376]byte], block[[376]byte], block[[408]byte], block[[408]byte], block[[440]byte], block[[440]byte],
}

func block[T any]() (*Item, *byte) {
	b := new(struct {
		Item
		value T
	})
	return &b.Item, (*byte)(unsafe.Pointer(&b.value))
}
