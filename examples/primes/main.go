// Primes sums the prime numbers below several limits, one task each: the first example of Parallel Python.
//
//	go run ./examples/primes                      tasks run on the cores of this process
//	go run ./cmd/pprun ./examples/primes          on processes, one for each CPU
//	pprun --hosts FILE ./examples/primes          on every CPU of every host in FILE
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/pprun/pprun/comm"
)

// SumPrimes can run on any rank, since every rank is this same program.
var SumPrimes = comm.Register("sum_primes", sumPrimes)

func sumPrimes(ctx context.Context, n int) (int, error) {
	sum := 0
	for x := 2; x < n; x++ {
		if isPrime(x) {
			sum += x
		}
	}
	return sum, nil
}

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

	sum, err := SumPrimes.Call(ctx, 100) // one task; wait for it
	if err != nil {
		return err
	}
	fmt.Println("Sum of primes below 100 is", sum)

	limits := []int{100000, 100100, 100200, 100300, 100400, 100500, 100600, 100700}
	var tasks []*comm.Future[int]
	for _, n := range limits {
		tasks = append(tasks, SumPrimes.Submit(ctx, n)) // all at once
	}
	sums, err := comm.Gather(ctx, tasks...)
	if err != nil {
		return err
	}
	for i, n := range limits {
		fmt.Println("Sum of primes below", n, "is", sums[i])
	}
	return c.WriteStats(os.Stdout)
}
