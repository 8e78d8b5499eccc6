// Command servers finds its machines itself, without pprun: those whose names are its arguments, on each of which a
// ppserver runs, and this one.
//
//	go run ./examples/servers                       every CPU of this machine
//	go run ./examples/servers node-1 node-2:7070    and of two others
package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"slices"

	"github.com/pprun/pprun/comm"
	"github.com/pprun/pprun/launch"
)

// part adds up a million terms of the sum of 1/k².
var part = comm.Register("part", func(ctx context.Context, first int) (sum float64, err error) {
	for k := first; k < first+1_000_000; k++ {
		sum += 1 / (float64(k) * float64(k))
	}
	return sum, nil
})

func main() { comm.Main(run, comm.Via(launch.Servers(os.Args[1:]...))) }

func run(ctx context.Context, c *comm.Comm) error {
	var firsts []int
	for k := 1; k < 100_000_000; k += 1_000_000 {
		firsts = append(firsts, k)
	}
	sum := 0.0
	for p, err := range part.Map(ctx, slices.Values(firsts)) {
		if err != nil {
			return err
		}
		sum += p
	}
	fmt.Printf("pi is about %.6f\n", math.Sqrt(6*sum))
	fmt.Printf("machines: %d, slots: %d\n", len(c.Nodes()), c.Slots())
	return nil
}
