// Package commtest runs ranks as goroutines of one test process, for tests of code that uses comm.
//
//	func TestSum(t *testing.T) {
//		commtest.Run(t, 4, func(ctx context.Context, c *comm.Comm) {
//			sum, err := coll.AllReduce(ctx, c, c.Rank(), func(a, b int) int { return a + b })
//			if err != nil || sum != 6 {
//				t.Errorf("rank %d: sum %d, %v", c.Rank(), sum, err)
//			}
//		})
//	}
//
// Frames, hub and codec are those of a real job; only processes and sockets are missing. So ranks share their package
// variables, which those of a real job do not. Run works inside a testing/synctest bubble.
package commtest

import (
	"context"
	"errors"
	"runtime/debug"
	"sync"
	"testing"

	"github.com/pprun/pprun/comm"
)

// Run calls f on n ranks at once, each with one slot, and returns when all have returned and no goroutine of theirs is
// left. Every rank serves tasks, also while it waits for the others to return. ctx is t's, with c in it. The test fails,
// naming the rank, where f panics or a rank is lost. f may call t.FailNow and t.Fatal, though not on the test's
// goroutine: the other ranks are then lost too, so that none waits for the failed one.
func Run(t testing.TB, n int, f func(ctx context.Context, c *comm.Comm)) {
	t.Helper()
	ranks, err := comm.World(t.Context(), n, comm.Slots(1))
	if err != nil {
		t.Fatalf("commtest: %d ranks: %v", n, err)
	}
	var running sync.WaitGroup
	for _, c := range ranks {
		running.Go(func() { run(t, c, f) })
	}
	running.Wait()
}

var errFailed = errors.New("its test function did not return")

func run(t testing.TB, c *comm.Comm, f func(ctx context.Context, c *comm.Comm)) {
	returned := false
	defer func() {
		if p := recover(); p != nil {
			t.Errorf("rank %d: panic: %v\n%s", c.Rank(), p, debug.Stack())
		}
		if !returned {
			c.Abort(errFailed)
		}
		if err := c.Close(); err != nil && returned {
			t.Errorf("rank %d: %v", c.Rank(), err)
		}
	}()
	f(comm.NewContext(t.Context(), c), c)
	returned = true
}
