package commtest_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pprun/pprun/comm"
	"github.com/pprun/pprun/comm/coll"
	"github.com/pprun/pprun/comm/commtest"
	"go.uber.org/goleak"
)

var where = comm.Register("where", func(ctx context.Context, _ int) (int, error) {
	c, _ := comm.FromContext(ctx)
	return c.Rank(), nil
})

func TestRun(t *testing.T) {
	defer goleak.VerifyNone(t)
	for _, n := range []int{1, 2, 5} {
		var ran atomic.Int32
		commtest.Run(t, n, func(ctx context.Context, c *comm.Comm) {
			ran.Add(1)
			ranks, err := where.OnAll(ctx, 0)
			if err != nil || len(ranks) != n || ranks[n-1] != n-1 || c.Size() != n || c.Slots() != n {
				t.Errorf("rank %d of %d with %d slots: OnAll gives %v, %v", c.Rank(), c.Size(), c.Slots(), ranks, err)
			}
		})
		if int(ran.Load()) != n {
			t.Errorf("%d of %d ranks ran", ran.Load(), n)
		}
	}
}

// A recorder is a test that may fail.
type recorder struct {
	testing.TB
	mu     sync.Mutex
	errors []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

func TestPanicFailsTheTest(t *testing.T) {
	defer goleak.VerifyNone(t)
	r := &recorder{TB: t}
	commtest.Run(r, 3, func(ctx context.Context, c *comm.Comm) {
		if c.Rank() == 1 {
			panic("ouch")
		}
		if err := coll.Barrier(ctx, c); err == nil || !strings.Contains(err.Error(), "rank 1") {
			t.Errorf("rank %d: the barrier says %v, want an error that names rank 1", c.Rank(), err)
		}
	})
	all := strings.Join(r.errors, "\n")
	if !strings.Contains(all, "rank 1: panic: ouch") || !strings.Contains(all, "commtest_test.go") {
		t.Errorf("the test failed with %q, want the panic of rank 1 and its stack", r.errors)
	}
}

// TestFatal ends a rank as t.FailNow does. The test is failed already, by name: Run adds no noise.
func TestFatal(t *testing.T) {
	defer goleak.VerifyNone(t)
	r := &recorder{TB: t}
	commtest.Run(r, 3, func(ctx context.Context, c *comm.Comm) {
		if c.Rank() == 2 {
			runtime.Goexit()
		}
		if err := coll.Barrier(ctx, c); err == nil {
			t.Errorf("rank %d: the barrier did not miss rank 2", c.Rank())
			return
		}
		runtime.Goexit()
	})
	if len(r.errors) != 0 {
		t.Errorf("reported %q", r.errors)
	}
}

// TestInBubble has a rank wait for an hour, which takes no time.
func TestInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		commtest.Run(t, 3, func(ctx context.Context, c *comm.Comm) {
			if c.Rank() == 2 {
				time.Sleep(time.Hour)
			}
			if err := coll.Barrier(ctx, c); err != nil || time.Since(start) != time.Hour {
				t.Errorf("rank %d: %v after %v", c.Rank(), err, time.Since(start))
			}
		})
	})
}
