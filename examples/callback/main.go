// Callback adds up the results of 128 tasks as they come, which gives the natural logarithm of 2: Parallel Python's
// callback.py. Look at Then: its functions never run at the same time, so that the sum needs no lock; and at Wait, which
// returns when the last of them has.
//
//	go run ./cmd/pprun ./examples/callback
package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"

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
	fmt.Printf("Starting with %d slots\n", c.Slots())

	var sum float64
	var failed error
	add := func(part float64, err error) { // a closure has what Parallel Python passes as callbackargs
		sum += part
		failed = errors.Join(failed, err)
	}
	const end, step = 20_000_000, 20_000_000 / 128
	for x := 1; x < end; x += step {
		PartSum.Submit(ctx, Range{From: x, To: min(x+step, end)}).Then(add)
	}
	if err := c.Wait(ctx); err != nil { // for all tasks and their callbacks
		return err
	}
	if failed != nil {
		return failed
	}
	fmt.Printf("Partial sum is %v | diff = %v\n", sum, math.Ln2-sum)
	return c.WriteStats(os.Stdout)
}
