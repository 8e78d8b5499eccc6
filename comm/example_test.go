package comm_test

import (
	"context"
	"fmt"
	"log"
	"slices"

	"github.com/pprun/pprun/comm"
)

var square = comm.Register("example_square", func(_ context.Context, n int) (int, error) { return n * n, nil })

// A program under pprun would call comm.Main(run) in main; without pprun Init makes a job of one rank, too.
func Example() {
	ctx := context.Background()
	c, err := comm.Init(ctx)
	if err != nil {
		log.Fatal(err)
	}
	f := square.Submit(ctx, 12)
	n, err := f.Get(ctx)
	fmt.Println(n, err)
	for r, err := range square.Map(ctx, slices.Values([]int{1, 2, 3})) {
		fmt.Println(r, err)
	}
	g := comm.Submit[int](ctx, "example_square", 5)
	rs, err := comm.Gather(ctx, square.Submit(ctx, 4), g)
	fmt.Println(rs, err)
	if err := c.Close(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// 144 <nil>
	// 1 <nil>
	// 4 <nil>
	// 9 <nil>
	// [16 25] <nil>
}
