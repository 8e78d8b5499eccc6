// Command tasks compares how many no-op calls a second comm and net/rpc make with two worker processes, interleaved in
// one run: one after the other, through Map, and submitted all at once and gathered.
//
//	go run ./cmd/pprun -n 3 ./scripts/bench/tasks
//
// Rank 0 only submits; the tasks run on ranks 1 and 2. The peer has two net/rpc servers over TCP on loopback, with 64
// calls under way to each. At the end it measures the round trip of a no-op while all other ranks but one run tasks of
// 10 ms after one another.
package main

import (
	"context"
	"fmt"
	"iter"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/pprun/pprun/comm"
	"github.com/pprun/pprun/scripts/bench/bench"
)

const (
	rounds = 5
	few    = 5_000   // calls one after the other
	many   = 500_000 // calls at once
)

var (
	noop = comm.Register("noop", func(_ context.Context, n int) (int, error) { return n, nil })
	spin = comm.Register("spin", func(ctx context.Context, d time.Duration) (int, error) {
		n := 0
		for end := time.Now().Add(d); time.Now().Before(end); n++ {
		}
		return n, nil
	})
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		serve()
		return
	}
	slots := 1
	if os.Getenv("PPRUN_RANK") == "0" {
		slots = 0
	}
	comm.Main(run, comm.Slots(slots))
}

func run(ctx context.Context, c *comm.Comm) error {
	if c.Size() < 3 {
		return fmt.Errorf("want 3 ranks: go run ./cmd/pprun -n 3 ./scripts/bench/tasks")
	}
	peers, err := startPeers(2)
	if err != nil {
		return err
	}
	defer peers.stop()
	fmt.Printf("no-op calls a second, %d ranks: tasks on ranks 1 to %d\n", c.Size(), c.Size()-1)
	bench.Print(os.Stdout, "calls/s", bench.Compare(rounds, []bench.Entry{
		{Name: "one by one", Shown: "noop.Call", Run: rate(few, func() error { return oneByOne(ctx) })},
		{Name: "net/rpc one by one", Shown: "client.Call", Run: rate(few, func() error { return peers.oneByOne(few) })},
	}))
	fmt.Println()
	bench.Print(os.Stdout, "calls/s", bench.Compare(rounds, []bench.Entry{
		{Name: "Submit+Gather", Shown: "noop.Submit, comm.Gather", Run: rate(many, func() error { return gather(ctx) })},
		{Name: "Map", Shown: "noop.Map", Run: rate(many, func() error { return throughMap(ctx) })},
		{Name: "net/rpc", Shown: "client.Go, 64 under way to each of 2 servers", Run: rate(many/10, func() error { return peers.pipelined(many / 10) })},
	}))
	return besideBusySlots(ctx, c.Slots()-1)
}

// rate returns a measurement of n calls made by f, in calls a second.
func rate(n int, f func() error) func() (float64, error) {
	return func() (float64, error) {
		start := time.Now()
		err := f()
		return float64(n) / time.Since(start).Seconds(), err
	}
}

func oneByOne(ctx context.Context) error {
	for i := range few {
		if n, err := noop.Call(ctx, i); err != nil || n != i {
			return fmt.Errorf("noop(%d) = %d, %v", i, n, err)
		}
	}
	return nil
}

func gather(ctx context.Context) error {
	futures := make([]*comm.Future[int], many)
	for i := range futures {
		futures[i] = noop.Submit(ctx, i)
	}
	results, err := comm.Gather(ctx, futures...)
	if err == nil && results[many-1] != many-1 {
		err = fmt.Errorf("noop(%d) = %d", many-1, results[many-1])
	}
	return err
}

func throughMap(ctx context.Context) error {
	next := 0
	for n, err := range noop.Map(ctx, count(many)) {
		if err != nil || n != next {
			return fmt.Errorf("noop(%d) = %d, %v", next, n, err)
		}
		next++
	}
	return nil
}

func count(n int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := 0; i < n && yield(i); i++ {
		}
	}
}

// besideBusySlots measures a no-op's round trip with idle slots, then with all of them but one kept busy.
func besideBusySlots(ctx context.Context, spinners int) error {
	trips := func() (time.Duration, time.Duration, error) {
		took := make([]time.Duration, 500)
		for i := range took {
			start := time.Now()
			if _, err := noop.Call(ctx, i); err != nil {
				return 0, 0, err
			}
			took[i] = time.Since(start)
		}
		slices.Sort(took)
		return took[len(took)/2], took[len(took)*99/100], nil
	}
	idle, idle99, err := trips()
	if err != nil {
		return err
	}
	busy, stop := context.WithCancel(ctx)
	var wait sync.WaitGroup
	for range spinners {
		wait.Go(func() {
			for busy.Err() == nil {
				spin.Call(busy, 10*time.Millisecond)
			}
		})
	}
	loaded, loaded99, err := trips()
	stop()
	wait.Wait()
	fmt.Printf("\nround trip of a no-op: median %v p99 %v with idle slots, median %v p99 %v beside 10 ms tasks on %d other slots\n",
		idle, idle99, loaded, loaded99, spinners)
	return err
}
