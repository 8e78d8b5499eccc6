package main

import (
	"context"
	"fmt"
	"iter"
	"os"
	"sync"
	"time"

	"github.com/pprun/pprun/comm"
	"github.com/pprun/pprun/scripts/bench/bench"
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

// serveTasks is a rank of a job of pprun: rank 0 runs f and no tasks, the others run one at a time.
func serveTasks(f func(ctx context.Context, c *comm.Comm) error) {
	slots := 1
	if os.Getenv("PPRUN_RANK") == "0" {
		slots = 0
	}
	comm.Main(f, comm.Slots(slots))
}

// answerTasks is pprun's own part beside its peers.
func answerTasks(ctx context.Context, c *comm.Comm) error { return answer(ours(ctx)) }

func ours(ctx context.Context) map[string]way {
	return map[string]way{
		single: oneByOne(func(i int) error {
			n, err := noop.Call(ctx, i)
			return check(i, n, err)
		}),
		windowed: throughMap(ctx, noop),
		gathered: func(n int) ([]time.Duration, error) { return nil, gather(ctx, n) },
		chunked:  throughMap(ctx, noop.With(comm.Chunk(1000))),
	}
}

func check(i, n int, err error) error {
	if err == nil && n != i {
		err = fmt.Errorf("noop(%d) = %d", i, n)
	}
	return err
}

func gather(ctx context.Context, n int) error {
	futures := make([]*comm.Future[int], n)
	for i := range futures {
		futures[i] = noop.Submit(ctx, i)
	}
	results, err := comm.Gather(ctx, futures...)
	if err != nil {
		return err
	}
	return check(n-1, results[n-1], nil)
}

func throughMap(ctx context.Context, f *comm.Func[int, int]) way {
	return func(n int) ([]time.Duration, error) {
		next := 0
		for r, err := range f.Map(ctx, count(n)) {
			if err := check(next, r, err); err != nil {
				return nil, err
			}
			next++
		}
		return nil, nil
	}
}

func unordered(ctx context.Context, n int) ([]time.Duration, error) {
	for done := range noop.Unordered(ctx, count(n)) {
		if err := check(done.Arg, done.Result, done.Err); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func count(n int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := 0; i < n && yield(i); i++ {
		}
	}
}

// alone measures pprun without its peers.
func alone(ctx context.Context, c *comm.Comm) error {
	if c.Size() < 3 {
		return fmt.Errorf("want 3 ranks: go run ./cmd/pprun -n 3 ./scripts/bench/tasks")
	}
	ways := ours(ctx)
	fmt.Printf("no-op calls a second, %d ranks: tasks on ranks 1 to %d\n", c.Size(), c.Size()-1)
	bench.Print(os.Stdout, "calls/s", bench.Compare(*rounds, []bench.Entry{
		{Name: "one by one", Shown: "noop.Call", Run: rate(few, ways[single])},
		{Name: "Submit+Gather", Shown: "noop.Submit, comm.Gather", Run: rate(many, ways[gathered])},
		{Name: "Map", Shown: "noop.Map", Run: rate(many, ways[windowed])},
		{Name: "Unordered", Shown: "noop.Unordered", Run: rate(many, func(n int) ([]time.Duration, error) { return unordered(ctx, n) })},
		{Name: "chunks of 1000", Shown: "noop.With(comm.Chunk(1000)).Map", Run: rate(2*many, ways[chunked])},
		{Name: "chunks by time", Shown: "noop.With(comm.Chunk(comm.Auto)).Map", Run: rate(2*many, throughMap(ctx, noop.With(comm.Chunk(comm.Auto))))},
	}))
	return besideBusySlots(ctx, ways[single], c.Slots()-1)
}

// rate returns a measurement of n calls, in calls a second.
func rate(n int, call way) func() (float64, error) {
	return func() (float64, error) {
		start := time.Now()
		_, err := call(n)
		return float64(n) / time.Since(start).Seconds(), err
	}
}

// besideBusySlots measures a no-op's round trip with idle slots, then with all of them but one kept busy.
func besideBusySlots(ctx context.Context, call way, spinners int) error {
	idle, err := call(500)
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
	loaded, err := call(500)
	stop()
	wait.Wait()
	if err != nil {
		return err
	}
	median, p99 := percentiles(idle)
	fmt.Printf("\nround trip of a no-op: median %v p99 %v with idle slots, ", median, p99)
	median, p99 = percentiles(loaded)
	fmt.Printf("median %v p99 %v beside 10 ms tasks on %d other slots\n", median, p99, spinners)
	return nil
}
