// Autodiff computes the logarithm and its derivative at once, from the series x - x²/2 + x³/3 - ..., by automatic
// differentiation: Parallel Python's auto_diff.py. Look at Register: it takes the method of a value, bound to that value,
// and a struct of the program's own as argument and result.
//
//	go run ./cmd/pprun ./examples/autodiff
package main

import (
	"context"
	"fmt"
	"math"
	"os"

	"github.com/pprun/pprun/comm"
)

// AD is a value and its derivative.
type AD struct{ X, DX float64 }

// Add returns a + b.
func (a AD) Add(b AD) AD { return AD{a.X + b.X, a.DX + b.DX} }

// Scale returns f * a.
func (a AD) Scale(f float64) AD { return AD{f * a.X, f * a.DX} }

// Pow returns a to the power of n.
func (a AD) Pow(n int) AD {
	return AD{math.Pow(a.X, float64(n)), float64(n) * math.Pow(a.X, float64(n-1)) * a.DX}
}

// PartialSum is a series cut off before its Nth term.
type PartialSum struct{ N int }

// TLog is the truncated natural logarithm.
func (p PartialSum) TLog(ctx context.Context, x AD) (AD, error) {
	x.X--
	var sum AD
	for i := 1; i < p.N; i++ {
		term := x.Pow(i).Scale(1 / float64(i))
		if i%2 == 0 {
			term = term.Scale(-1)
		}
		sum = sum.Add(term)
	}
	return sum, nil
}

// TLog is the method of one PartialSum, which every rank makes for itself.
var TLog = comm.Register("t_log", PartialSum{20_000}.TLog)

func main() { comm.Main(run) }

func run(ctx context.Context, c *comm.Comm) error {
	fmt.Printf("Starting with %d slots\n", c.Slots())

	var tasks []*comm.Future[AD]
	for i := range 32 {
		tasks = append(tasks, TLog.Submit(ctx, AD{X: 1 + float64(i)/32, DX: 1}))
	}
	for i, task := range tasks {
		v, err := task.Get(ctx)
		if err != nil {
			return err
		}
		x := 1 + float64(i)/32
		fmt.Printf("t_log(%f) = %f, t_log'(%f) = %f\n", x, v.X, x, v.DX)
	}
	return c.WriteStats(os.Stdout)
}
