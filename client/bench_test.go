package client_test

import (
	"fmt"
	"testing"

	"github.com/kumofs/kumofs/client"
)

func benchClient(b *testing.B) *client.Client {
	c, err := client.Open(b.Context(), client.Options{Managers: managers})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	return c
}

func BenchmarkGet(b *testing.B) {
	c := benchClient(b)
	if err := c.Set(b.Context(), &client.Item{Key: "bench", Value: make([]byte, 100)}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetParallelism(32)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.Get(b.Context(), "bench"); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkScan is a scan of 10,000 items of 100 bytes.
func BenchmarkScan(b *testing.B) {
	c := benchClient(b)
	for i := range 10_000 {
		if err := c.Set(b.Context(), &client.Item{Key: fmt.Sprintf("scan:%05d", i), Value: make([]byte, 100)}); err != nil {
			b.Fatal(err)
		}
	}
	for _, unordered := range []bool{false, true} {
		b.Run(fmt.Sprintf("unordered=%v", unordered), func(b *testing.B) {
			for b.Loop() {
				n := 0
				for _, err := range c.Scan(b.Context(), []byte("scan:"), client.ScanOptions{Unordered: unordered}) {
					if err != nil {
						b.Fatal(err)
					}
					n++
				}
				if n != 10_000 {
					b.Fatal(n)
				}
			}
		})
	}
}
