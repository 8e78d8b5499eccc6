// Dynamicslots computes the natural logarithm of 2 six times over, with 1, 2, 4, 8, 16 and again 1 slots in the whole job:
// Parallel Python's dynamic_ncpus.py. Look at SetSlots, and at the times: they fall until there are as many slots as
// CPUs. The parts are added up in order, so that the sum is the same to the last bit, whatever ran where.
//
//	go run ./cmd/pprun ./examples/dynamicslots
package main

import (
	"context"
	"fmt"
	"iter"
	"math"
	"os"
	"time"

	"github.com/pprun/pprun/comm"
)

// Range is the argument of one task: the terms From to To-1.
type Range struct{ From, To int }

// PartSum is a part of the sum 1 - 1/2 + 1/3 - 1/4 + ...
var PartSum = comm.Register("part_sum", func(ctx context.Context, r Range) (sum float64, err error) {
	for x := r.From; x < r.To; x++ {
		if x%2 == 0 {
			sum -= 1 / float64(x)
		} else {
			sum += 1 / float64(x)
		}
	}
	return sum, nil
})

func main() { comm.Main(run) }

func run(ctx context.Context, c *comm.Comm) error {
	for _, n := range []int{1, 2, 4, 8, 16, 1} {
		if err := c.SetSlots(ctx, n); err != nil {
			return err
		}
		fmt.Printf("Starting with %d slots\n", c.Slots())
		start := time.Now()
		sum := 0.0
		for part, err := range PartSum.Map(ctx, parts()) {
			if err != nil {
				return err
			}
			sum += part
		}
		fmt.Printf("Partial sum is %v | diff = %v\n", sum, math.Ln2-sum)
		fmt.Printf("Time elapsed: %.3f s\n\n", time.Since(start).Seconds())
	}
	return c.WriteStats(os.Stdout)
}

// parts divides twenty million terms into 64 ranges.
func parts() iter.Seq[Range] {
	const end, step = 20_000_000, 20_000_000 / 64
	return func(yield func(Range) bool) {
		for x := 1; x < end; x += step {
			if !yield(Range{From: x, To: min(x+step, end)}) {
				return
			}
		}
	}
}
