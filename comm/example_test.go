package comm_test

import (
	"context"
	"fmt"
	"log"
	"slices"
	"strings"

	"github.com/pprun/pprun/comm"
)

// A lookup is an argument with shared data in it.
type lookup struct {
	Words comm.Ref[[]string]
	Index int
}

var word = comm.Register("example_word", func(ctx context.Context, l lookup) (string, error) {
	words, err := l.Words.Get(ctx) // the same slice for all tasks of a rank: it is only read
	if err != nil {
		return "", err
	}
	return words[l.Index], nil
})

// Each node gets the words once, whatever the number of tasks that need them.
func ExampleShare() {
	ctx := context.Background()
	c, err := comm.Init(ctx)
	if err != nil {
		log.Fatal(err)
	}
	words, err := comm.Share(ctx, []string{"zero", "one", "two", "three"})
	if err != nil {
		log.Fatal(err)
	}
	for w, err := range word.Map(ctx, slices.Values([]lookup{{words, 3}, {words, 1}, {words, 2}})) {
		fmt.Println(w, err)
	}
	if err := words.Release(ctx); err != nil { // or leave it until the Comm closes
		log.Fatal(err)
	}
	if err := c.Close(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// three <nil>
	// one <nil>
	// two <nil>
}

var (
	spelling = comm.Once(func(context.Context) (*strings.Replacer, error) {
		fmt.Println("made once")
		return strings.NewReplacer("colour", "color", "centre", "center"), nil
	})
	spell = comm.Register("example_spell", func(ctx context.Context, text string) (string, error) {
		r, err := spelling(ctx)
		if err != nil {
			return "", err
		}
		return r.Replace(text), nil
	})
)

// Each rank makes its replacer when a task first asks for it.
func ExampleOnce() {
	ctx := context.Background()
	c, err := comm.Init(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for text, err := range spell.Map(ctx, slices.Values([]string{"the centre", "of colour"})) {
		fmt.Println(text, err)
	}
	if err := c.Close(); err != nil {
		log.Fatal(err)
	}
	// Unordered output:
	// made once
	// the center <nil>
	// of color <nil>
}

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
	sum := 0
	for d := range square.Unordered(ctx, slices.Values([]int{1, 2, 3}), comm.Chunk(comm.Auto)) {
		sum += d.Result // in any order
	}
	fmt.Println(sum)
	urgent := square.With(comm.Priority(1), comm.Group("urgent"))
	done := 0
	for _, n := range []int{6, 7} {
		urgent.Submit(ctx, n).Then(func(int, error) { done++ }) // one at a time: no lock
	}
	fmt.Println(c.Wait(ctx, "urgent"), done)
	if err := c.Close(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// 144 <nil>
	// 1 <nil>
	// 4 <nil>
	// 9 <nil>
	// [16 25] <nil>
	// 14
	// <nil> 2
}
