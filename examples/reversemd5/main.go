// Reversemd5 finds the number that has a given MD5 sum, among two million, in 128 tasks: Parallel Python's reverse_md5.py.
// Look at the loop: Unordered yields each task when it is done, and leaving the loop cancels those that are left.
//
//	go run ./cmd/pprun ./examples/reversemd5
package main

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"iter"
	"os"
	"strconv"

	"github.com/pprun/pprun/comm"
)

// Search is the argument of one task: which of the numbers From to To-1 has that sum?
type Search struct {
	Sum      [md5.Size]byte
	From, To int
}

// Reverse returns the number, 0 if there is none.
var Reverse = comm.Register("reverse_md5", func(ctx context.Context, s Search) (int, error) {
	for n := s.From; n < s.To && ctx.Err() == nil; n++ {
		if md5.Sum(strconv.AppendInt(nil, int64(n), 10)) == s.Sum {
			return n, nil
		}
	}
	return 0, ctx.Err()
})

func main() { comm.Main(run) }

func run(ctx context.Context, c *comm.Comm) error {
	fmt.Printf("Starting with %d slots\n", c.Slots())

	sum := md5.Sum([]byte("1829182"))
	found := 0
	for task := range Reverse.Unordered(ctx, parts(sum)) {
		if task.Err != nil {
			return task.Err
		}
		if task.Result != 0 {
			found = task.Result
			break
		}
	}
	if found == 0 {
		return fmt.Errorf("reverse md5 for %x has not been found", sum)
	}
	fmt.Println("Reverse md5 for", hex.EncodeToString(sum[:]), "is", found)
	return c.WriteStats(os.Stdout)
}

// parts divides the numbers into 128 ranges. They take different times, so that many small ones balance better.
func parts(sum [md5.Size]byte) iter.Seq[Search] {
	const end, step = 2_000_000, 2_000_000 / 128
	return func(yield func(Search) bool) {
		for n := 1; n < end; n += step {
			if !yield(Search{Sum: sum, From: n, To: min(n+step, end)}) {
				return
			}
		}
	}
}
