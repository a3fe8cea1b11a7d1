package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/kumofs/kumofs/client"
)

// A client is opened once and used by the whole program.
func Example() {
	ctx := context.Background()
	c, err := client.Open(ctx, client.Options{Managers: managers}) // {"svr1", "svr2"}, say
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	if err := c.Set(ctx, &client.Item{Key: "example:greeting", Value: []byte("hello")}); err != nil {
		log.Fatal(err)
	}
	it, err := c.Get(ctx, "example:greeting")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", it.Value)

	_, err = c.Get(ctx, "example:nothing")
	fmt.Println(errors.Is(err, client.ErrNotFound))
	// Output:
	// hello
	// true
}

// Read, change, write: again, if somebody else has written in between.
func ExampleClient_CompareAndSwap() {
	ctx := context.Background()
	c, err := client.Open(ctx, client.Options{Managers: managers})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if err := c.Set(ctx, &client.Item{Key: "example:list", Value: []byte("a")}); err != nil {
		log.Fatal(err)
	}

	for {
		it, err := c.Get(ctx, "example:list")
		if err != nil {
			log.Fatal(err)
		}
		it.Value = append(it.Value, ",b"...)
		err = c.CompareAndSwap(ctx, it)
		if errors.Is(err, client.ErrExists) {
			continue // it has changed since
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", it.Value)
		break
	}
	// Output: a,b
}

// Of a write that ends without an answer the error tells whether it may have been done.
func ExampleClient_Incr() {
	ctx := context.Background()
	c, err := client.Open(ctx, client.Options{Managers: managers})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if err := c.Set(ctx, &client.Item{Key: "example:visits", Value: []byte("41")}); err != nil {
		log.Fatal(err)
	}

	short, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	n, err := c.Incr(short, "example:visits", 1)
	switch {
	case err == nil:
		fmt.Println(n)
	case errors.Is(err, client.ErrOutcomeUnknown):
		fmt.Println("counted once, or not at all: look before you count again")
	default:
		fmt.Println("not counted:", err)
	}
	// Output: 42
}

// All items whose keys begin with a prefix, in the order of the keys.
func ExampleClient_Scan() {
	ctx := context.Background()
	c, err := client.Open(ctx, client.Options{Managers: managers})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for _, name := range []string{"carol", "alice", "bob"} {
		if err := c.Set(ctx, &client.Item{Key: "example:user:" + name, Value: []byte("Hi " + name)}); err != nil {
			log.Fatal(err)
		}
	}

	for it, err := range c.Scan(ctx, []byte("example:user:"), client.ScanOptions{}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %s\n", it.Key, it.Value)
	}
	// Output:
	// example:user:alice: Hi alice
	// example:user:bob: Hi bob
	// example:user:carol: Hi carol
}

// A scan of everything, that goes on after an error where it was.
func ExampleScanOptions() {
	ctx := context.Background()
	c, err := client.Open(ctx, client.Options{Managers: managers})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for i := range 3 {
		if err := c.Set(ctx, &client.Item{Key: fmt.Sprint("example:log:", i)}); err != nil {
			log.Fatal(err)
		}
	}

	opt := client.ScanOptions{Unordered: true, KeysOnly: true}
	n := 0
	for done := false; !done; {
		done = true
		for it, err := range c.Scan(ctx, []byte("example:log:"), opt) {
			if errors.Is(err, client.ErrUnavailable) {
				time.Sleep(time.Second)
				done = false
				break
			}
			if err != nil {
				log.Fatal(err)
			}
			opt.After = it.Key
			n++
		}
	}
	fmt.Println(n)
	// Output: 3
}
