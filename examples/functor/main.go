// Functor sums primes like the example primes, with a function that carries options: Parallel Python's
// sum_primes_functor.py, where it is called a Template. Look at With: what it returns is submitted as the function is.
//
//	go run ./cmd/pprun ./examples/functor
package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/pprun/pprun/comm"
)

// SumPrimes adds up the prime numbers below n.
var SumPrimes = comm.Register("sum_primes", func(ctx context.Context, n int) (sum int, err error) {
	for x := 2; x < n; x++ {
		if isPrime(x) {
			sum += x
		}
	}
	return sum, ctx.Err()
})

func isPrime(x int) bool {
	for d := 2; d*d <= x; d++ {
		if x%d == 0 {
			return false
		}
	}
	return true
}

func main() { comm.Main(run) }

func run(ctx context.Context, c *comm.Comm) error {
	fmt.Printf("Starting with %d slots\n", c.Slots())

	// Tasks of this function are a group, end when they take too long, and are tried again if they fail.
	sumPrimes := SumPrimes.With(comm.Group("primes"), comm.Timeout(time.Minute), comm.Retries(1))

	sum, err := sumPrimes.Call(ctx, 100)
	if err != nil {
		return err
	}
	fmt.Println("Sum of primes below 100 is", sum)

	limits := []int{100000, 100100, 100200, 100300, 100400, 100500, 100600, 100700}
	i := 0
	for sum, err := range sumPrimes.Map(ctx, slices.Values(limits)) {
		if err != nil {
			return err
		}
		fmt.Println("Sum of primes below", limits[i], "is", sum)
		i++
	}
	return c.WriteStats(os.Stdout)
}
