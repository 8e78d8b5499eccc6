// Quicksort sorts a million numbers: rank 0 divides them into 32 parts, each around the first number of a part, and tasks
// sort the parts: Parallel Python's quicksort.py. Look at the size of the arguments: slices of numbers are copied, not
// encoded one by one.
//
//	go run ./cmd/pprun ./examples/quicksort
package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"

	"github.com/pprun/pprun/comm"
)

// Sort is one task: it sorts a part.
var Sort = comm.Register("sort", func(ctx context.Context, a []int) ([]int, error) {
	slices.Sort(a)
	return a, nil
})

func main() { comm.Main(run) }

func run(ctx context.Context, c *comm.Comm) error {
	fmt.Printf("Starting with %d slots\n", c.Slots())

	random := rand.New(rand.NewPCG(1, 2)) // the same numbers every time
	numbers := make([]int, 1_000_000)
	for i := range numbers {
		numbers[i] = random.IntN(100_001)
	}
	parts, err := comm.Gather(ctx, quicksort(ctx, numbers, 5)...)
	if err != nil {
		return err
	}
	sorted := slices.Concat(parts...)
	fmt.Println("first 30 numbers in increasing order:", sorted[:30])
	fmt.Println("all", len(sorted), "in order:", slices.IsSorted(sorted))
	return c.WriteStats(os.Stdout)
}

// quicksort divides a depth times and submits the parts, which end up in order.
func quicksort(ctx context.Context, a []int, depth int) []*comm.Future[[]int] {
	if depth == 0 {
		return []*comm.Future[[]int]{Sort.Submit(ctx, a)}
	}
	less := partition(a)
	return append(quicksort(ctx, a[:less], depth-1), quicksort(ctx, a[less:], depth-1)...)
}

// partition moves the numbers that are less than the first to the front, and returns how many they are.
func partition(a []int) (less int) {
	for i := range a {
		if a[i] < a[0] {
			less++ // a[0] stays where it is until all are compared
			a[less], a[i] = a[i], a[less]
		}
	}
	if len(a) > 0 {
		a[0], a[less] = a[less], a[0]
	}
	return less
}
