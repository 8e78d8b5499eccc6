package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/pprun/pprun/comm"
)

// hold keeps a slot until it is canceled.
var hold = comm.Register("hold", func(ctx context.Context, _ struct{}) (struct{}, error) {
	<-ctx.Done()
	return struct{}{}, ctx.Err()
})

// long shows what rank 0 with its hub keeps of tasks that are over and of tasks that wait, and how busy coarse tasks keep
// the slots.
func long(ctx context.Context, c *comm.Comm) error {
	if err := memoryOfFinished(ctx); err != nil {
		return err
	}
	if err := memoryOfQueued(ctx, c); err != nil {
		return err
	}
	return utilisation(ctx, c)
}

const million = 1_000_000

func memoryOfFinished(ctx context.Context) error {
	fmt.Println("memory of rank 0 after so many tasks: heap, resident")
	done := 0
	for n, err := range noop.Map(ctx, count(10*million)) {
		if err := check(done, n, err); err != nil {
			return err
		}
		if done++; done%million == 0 {
			fmt.Printf("%3d million  %6.2f MB  %6.2f MB\n", done/million, heap()/1e6, resident())
		}
	}
	return nil
}

func memoryOfQueued(ctx context.Context, c *comm.Comm) error {
	ctx, release := context.WithCancel(ctx)
	defer release()
	for range c.Slots() {
		hold.Submit(ctx, struct{}{})
	}
	futures := make([]*comm.Future[int], 0, million)
	before := heap()
	for i := range million - c.Slots() { // no more may wait
		futures = append(futures, noop.Submit(ctx, i))
	}
	fmt.Printf("\nof a queued task: %.0f bytes, its future included\n", (heap()-before)/float64(len(futures)))
	release()
	for _, f := range futures {
		<-f.Done()
	}
	return nil
}

// utilisation runs tasks of 1 to 19 ms on all slots.
func utilisation(ctx context.Context, c *comm.Comm) error {
	var times []time.Duration
	for i := range 400 * c.Slots() {
		times = append(times, time.Duration(1+i*7%19)*time.Millisecond)
	}
	ran := func() (sum time.Duration) {
		for _, n := range c.Stats().Nodes {
			sum += n.Time
		}
		return sum
	}
	before, start := ran(), time.Now()
	for _, err := range spin.Map(ctx, slices.Values(times)) {
		if err != nil {
			return err
		}
	}
	had := time.Since(start) * time.Duration(c.Slots())
	fmt.Printf("\n%d tasks of 1 to 19 ms on %d slots: busy %.1f %% of the time\n", len(times), c.Slots(), 100*float64(ran()-before)/float64(had))
	return nil
}

// heap returns the bytes of live objects.
func heap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// resident returns the megabytes of the process that are in memory.
func resident() float64 {
	status, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	var kB float64
	fmt.Sscan(rest, &kB)
	return kB * 1024 / 1e6
}
