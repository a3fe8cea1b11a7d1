package clustermap

import (
	"fmt"
	"testing"
)

// BenchmarkRoute finds the server that a key is asked for at.
func BenchmarkRoute(b *testing.B) {
	for _, servers := range []int{3, 100} {
		b.Run(fmt.Sprint(servers), func(b *testing.B) {
			var addrs []string
			for i := range servers {
				addrs = append(addrs, fmt.Sprintf("10.0.0.%d:19800", i))
			}
			m := PlanAddrs(addrs, 4096, 3)
			key := []byte("bench:0000000042")
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				key[len(key)-1] = '0' + byte(i%10)
				if m.Server(m.Partitions[m.PartitionOf(key)].Primary()) == nil {
					b.Fatal("nobody has the key")
				}
			}
		})
	}
}
