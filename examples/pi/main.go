// Pi estimates pi by throwing darts at a square: the part that lands in the inscribed circle is pi/4.
// Each batch has a generator of its own, seeded by its number: the result is the same on one core and on a thousand.
//
//	go run ./cmd/pprun ./examples/pi -batches 1000
package main

import (
	"context"
	"flag"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"

	"github.com/pprun/pprun/comm"
)

// Batch is the argument of one task.
type Batch struct {
	Seed  uint64
	Darts int
}

// Hits counts the darts of a batch that land in the circle.
var Hits = comm.Register("hits", func(ctx context.Context, b Batch) (int, error) {
	rng := rand.New(rand.NewPCG(b.Seed, 0))
	hits := 0
	for range b.Darts {
		x, y := rng.Float64(), rng.Float64()
		if x*x+y*y < 1 {
			hits++
		}
	}
	return hits, nil
})

var (
	batches = flag.Int("batches", 40, "number of tasks")
	darts   = flag.Int("darts", 500_000, "darts in each task")
)

func main() {
	flag.Parse()
	comm.Main(run)
}

func run(ctx context.Context, c *comm.Comm) error {
	hits := 0
	for h, err := range Hits.Map(ctx, work()) {
		if err != nil {
			return err
		}
		hits += h
	}
	n := float64(*batches * *darts)
	p := float64(hits) / n
	fmt.Printf("pi is %.5f +- %.5f after %.0f darts\n", 4*p, 4*math.Sqrt(p*(1-p)/n), n)
	return nil
}

// work yields the batches one after the other: Map asks for the next when there is room for it.
func work() iter.Seq[Batch] {
	return func(yield func(Batch) bool) {
		for i := range *batches {
			if !yield(Batch{Seed: uint64(i), Darts: *darts}) {
				return
			}
		}
	}
}
