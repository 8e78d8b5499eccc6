package comm_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/pprun/pprun/comm"
)

// TestNothingStaysOfTasks has a rank panic a thousand times and run many tasks: it then runs as many goroutines as before,
// and has as much memory, up to 5 MB. COMM_TEST_TASKS says how many; they are few by default.
func TestNothingStaysOfTasks(t *testing.T) {
	n := 50_000
	if s := os.Getenv("COMM_TEST_TASKS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	world(t, 2, onZero(func(ctx context.Context, c *comm.Comm) error {
		run := func(p, n int) error {
			for range p {
				if _, err := panics.Call(ctx, "no way", comm.OnRanks(1)); err == nil {
					return fmt.Errorf("a panic is no error")
				}
			}
			if r, err := double.Call(ctx, 4, comm.OnRanks(1)); r != 8 || err != nil {
				return fmt.Errorf("after %d panics: %d, %v", p, r, err)
			}
			for _, err := range double.Map(ctx, slices.Values(make([]int, n))) {
				if err != nil {
					return err
				}
			}
			return nil
		}
		if err := run(10, 20_000); err != nil { // buffers grow to their size
			return err
		}
		goroutines, before := runtime.NumGoroutine(), heap()
		if err := run(1000, n); err != nil {
			return err
		}
		if after := heap(); after > before+5<<20 {
			t.Errorf("%d bytes after %d tasks, %d before", after, n, before)
		}
		for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > goroutines; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Errorf("%d goroutines after %d tasks, %d before", runtime.NumGoroutine(), n, goroutines)
				break
			}
		}
		return nil
	}))
}

// heap is what is in use.
func heap() int {
	runtime.GC()
	runtime.GC() // of what the first has finalized
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
