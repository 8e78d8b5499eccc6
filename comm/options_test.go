package comm_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pprun/pprun/comm"
)

var (
	attempt = comm.Register("attempt", func(ctx context.Context, _ int) (int, error) { return comm.Attempt(ctx), nil })
	patient = comm.Register("patient", func(ctx context.Context, d time.Duration) (int, error) {
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(d):
			return 1, nil
		}
	}, comm.Timeout(time.Minute))
	deadline = comm.Register("deadline", func(ctx context.Context, _ int) (time.Duration, error) {
		at, ok := ctx.Deadline()
		if !ok {
			return -1, nil
		}
		return time.Until(at), nil
	})
)

func TestBadOptions(t *testing.T) {
	for _, x := range []struct {
		want string
		opt  comm.Option
	}{
		{`Group(""): want 1 to`, comm.Group("")},
		{"Priority(9223372036854775807): want", comm.Priority(1<<63 - 1)},
		{"Retries(-1): want 0 to", comm.Retries(-1)},
		{"Retries(101): want 0 to 100", comm.Retries(101)},
		{"MaxLost(0): want 1 to", comm.MaxLost(0)},
		{"Timeout(-1s): want 0 or more", comm.Timeout(-time.Second)},
		{"KillAfter(-1s): want 0 or more", comm.KillAfter(-time.Second)},
		{"OnRanks(): want one rank or more", comm.OnRanks()},
		{"OnRanks: there is no rank -1", comm.OnRanks(2, -1)},
		{"OnRanks: there is no rank 2, they are 0 to 1", comm.OnRanks(0, 2)},
		{`OnNode(""): want the name`, comm.OnNode("")},
		{`OnNode("moon"): the nodes are node0, node1`, comm.OnNode("moon")},
		{"Window(0): want 1 or more", comm.Window(0)},
		{"Chunk(0): want 1 to", comm.Chunk(0)},
		{"a nil Option", nil},
	} {
		world(t, 2, onZero(func(ctx context.Context, c *comm.Comm) error {
			_, err := double.Call(ctx, 1, x.opt)
			_, with := double.With(x.opt).Call(ctx, 1)
			var byName, inMap, unordered error
			if x.opt != nil {
				_, byName = comm.Submit[int](ctx, "double", 1, x.opt).Get(ctx)
			} else {
				byName = err
			}
			for _, err := range double.Map(ctx, slices.Values([]int{1}), x.opt) {
				inMap = err
			}
			for d := range double.Unordered(ctx, slices.Values([]int{1}), x.opt) {
				unordered = d.Err
			}
			for _, err := range []error{err, with, byName, inMap, unordered} {
				if err == nil || !strings.HasPrefix(err.Error(), "comm: submit double: "+x.want) {
					return fmt.Errorf("got %v, want %q", err, x.want)
				}
			}
			return nil
		}))
	}
	world(t, 2, onZero(func(ctx context.Context, c *comm.Comm) error {
		for _, opt := range []comm.Option{comm.Window(3), comm.Chunk(2)} {
			if _, err := double.Call(ctx, 1, opt); err == nil || !strings.Contains(err.Error(), "for Map and Unordered") {
				return fmt.Errorf("Call gives %v", err)
			}
			if n, err := double.With(opt).Call(ctx, 1); n != 2 || err != nil {
				return fmt.Errorf("as a default: %d, %v", n, err)
			}
		}
		if _, err := double.With(comm.Local()).OnAll(ctx, 1); err == nil || !strings.Contains(err.Error(), "Local") {
			return fmt.Errorf("OnAll with Local: %v", err)
		}
		return nil
	}))
}

func TestByNameOptions(t *testing.T) {
	world(t, 2, onZero(func(ctx context.Context, c *comm.Comm) error {
		n, err := comm.Submit[int](ctx, "add", 3, 4, comm.Group("sums"), comm.Priority(2)).Get(ctx)
		if n != 7 || err != nil {
			return fmt.Errorf("got %d, %v", n, err)
		}
		_, err = comm.Submit[int](ctx, "add", 3, comm.Priority(2), 4).Get(ctx)
		if err == nil || !strings.Contains(err.Error(), "have 3 arguments") {
			return fmt.Errorf("an option among the arguments: %v", err)
		}
		return nil
	}))
}

func TestAttemptAndDeadline(t *testing.T) {
	world(t, 1, func(ctx context.Context, c *comm.Comm) error {
		if n, err := attempt.Call(ctx, 0); n != 0 || err != nil || comm.Attempt(ctx) != 0 {
			return fmt.Errorf("attempt %d, %v", n, err)
		}
		if d, err := deadline.Call(ctx, 0); d != -1 || err != nil {
			return fmt.Errorf("without Timeout: %v, %v", d, err)
		}
		if d, err := deadline.Call(ctx, 0, comm.Timeout(time.Hour)); d <= 0 || d > time.Hour || err != nil {
			return fmt.Errorf("with Timeout: %v, %v", d, err)
		}
		return nil
	})
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		world(t, 2, onZero(func(ctx context.Context, c *comm.Comm) error {
			start := time.Now()
			took := func(want time.Duration) error {
				if d := time.Since(start); d != want {
					return fmt.Errorf("took %v, want %v", d, want)
				}
				start = time.Now()
				return nil
			}
			if _, err := patient.Call(ctx, time.Second); err != nil {
				return err
			}
			if err := took(time.Second); err != nil {
				return err
			}
			_, err := patient.Call(ctx, time.Hour)
			var failed *comm.TaskError
			if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &failed) {
				return fmt.Errorf("over the default Timeout: %v", err)
			}
			if err := took(time.Minute); err != nil {
				return err
			}
			if _, err := patient.Call(ctx, time.Hour, comm.Timeout(time.Second)); !errors.Is(err, context.DeadlineExceeded) {
				return fmt.Errorf("over its own Timeout: %v", err)
			}
			if err := took(time.Second); err != nil {
				return err
			}
			if n, err := patient.With(comm.Timeout(0)).Call(ctx, time.Hour); n != 1 || err != nil {
				return fmt.Errorf("without one: %d, %v", n, err)
			}
			return took(time.Hour)
		}))
	})
}

func TestGroups(t *testing.T) {
	world(t, 2, onZero(func(ctx context.Context, c *comm.Comm) error {
		if err := c.Wait(ctx); err != nil {
			return fmt.Errorf("with nothing to wait for: %v", err)
		}
		var called atomic.Int32
		for i := range 200 {
			double.Submit(ctx, i, comm.Group([]string{"even", "odd"}[i%2])).Then(func(int, error) { called.Add(1) })
		}
		failing := fails.Submit(ctx, "f", comm.Group("odd"))
		held := blocks.Submit(ctx, 0, comm.Group("held"))
		<-began
		if err := c.Wait(ctx, "even", "odd", "none such"); err != nil || called.Load() != 200 {
			return fmt.Errorf("Wait: %v after %d callbacks", err, called.Load())
		}
		select {
		case <-failing.Done():
		default:
			return errors.New("Wait did not wait for a task that fails")
		}
		hasty, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		if err := c.Wait(hasty); !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("Wait for everything: %v", err)
		}
		c.Cancel("held")
		<-ended
		if _, err := held.Get(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "held") {
			return fmt.Errorf("canceled by its group: %v", err)
		}
		return c.Wait(ctx)
	}))
}

// TestCancelGroup cancels one group of two in one context, of tasks that wait and tasks that run.
func TestCancelGroup(t *testing.T) {
	world(t, 2, onZero(func(ctx context.Context, c *comm.Comm) error {
		var doomed, spared []*comm.Future[int]
		for i := range 100 {
			doomed = append(doomed, blocks.Submit(ctx, i, comm.Group("doomed")))
			spared = append(spared, double.Submit(ctx, i, comm.Group("spared")))
		}
		<-began
		<-began
		c.Cancel("doomed")
		for _, f := range doomed {
			if _, err := f.Get(ctx); !errors.Is(err, context.Canceled) {
				return fmt.Errorf("of the group: %v", err)
			}
		}
		if _, err := comm.Gather(ctx, spared...); err != nil {
			return fmt.Errorf("of another group: %v", err)
		}
		again := double.Submit(ctx, 1, comm.Group("doomed"))
		if n, err := again.Get(ctx); n != 2 || err != nil {
			return fmt.Errorf("submitted after Cancel: %d, %v", n, err)
		}
		return nil
	}))
	drain()
}

var waitsInTask = comm.Register("waits_in_task", func(ctx context.Context, what string) (int, error) {
	c, _ := comm.FromContext(ctx)
	switch what {
	case "wait":
		return 0, c.Wait(ctx)
	case "close":
		return 0, c.Close()
	}
	_, err := comm.Init(ctx)
	return 0, err
})

func TestWaitForItself(t *testing.T) {
	world(t, 2, onZero(func(ctx context.Context, c *comm.Comm) error {
		for _, what := range []string{"wait", "close", "init"} {
			_, err := waitsInTask.Call(ctx, what)
			if err == nil || !strings.Contains(err.Error(), "in a task") {
				return fmt.Errorf("%s: %v", what, err)
			}
		}
		errs := make(chan error, 2)
		double.Submit(ctx, 1).Then(func(int, error) {
			errs <- c.Wait(ctx)
			errs <- c.Close()
		})
		for range 2 {
			if err := <-errs; err == nil || !strings.Contains(err.Error(), "callback") {
				return fmt.Errorf("in a callback: %v", err)
			}
		}
		return nil
	}))
}

func TestCompleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		world(t, 4, onZero(func(ctx context.Context, c *comm.Comm) error {
			fs := []*comm.Future[int]{
				naps.Submit(ctx, 3*time.Second), naps.Submit(ctx, time.Second), naps.Submit(ctx, 2*time.Second), fails.Submit(ctx, "f"),
			}
			var order []int
			for i, f := range comm.Completed(ctx, fs...) {
				if _, err := f.Get(ctx); (err != nil) != (i == 3) {
					return fmt.Errorf("future %d: %v", i, err)
				}
				order = append(order, i)
			}
			if !slices.Equal(order, []int{3, 1, 2, 0}) {
				return fmt.Errorf("in the order %v", order)
			}
			hasty, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			short, long := naps.Submit(ctx, 10*time.Millisecond), naps.Submit(ctx, time.Hour)
			order = nil
			for i, f := range comm.Completed(hasty, long, short) {
				order = append(order, i)
				if _, err := f.Get(hasty); errors.Is(err, context.DeadlineExceeded) != (i == 0) {
					return fmt.Errorf("future %d when the context has ended: %v", i, err)
				}
			}
			if !slices.Equal(order, []int{1, 0}) {
				return fmt.Errorf("in the order %v until the context ends", order)
			}
			_, err := long.Get(ctx)
			return err
		}))
	})
}

func TestPlacement(t *testing.T) {
	world(t, 5, func(ctx context.Context, c *comm.Comm) error {
		for _, x := range []struct {
			opt   comm.Option
			ranks []int
		}{
			{comm.OnRanks(2), []int{2}},
			{comm.OnRanks(3, 1, 3), []int{1, 3}},
			{comm.OnNode("node4"), []int{4}},
			{comm.Local(), []int{c.Rank()}},
		} {
			for d := range whoami.With(comm.OnRanks(0)).Unordered(ctx, slices.Values(make([]struct{}, 20)), x.opt) {
				if d.Err != nil || d.Result != d.Rank || !slices.Contains(x.ranks, d.Rank) {
					return fmt.Errorf("for ranks %v: %+v", x.ranks, d)
				}
			}
		}
		return nil
	})
}

// TestPriority fills the only slot, queues tasks, and looks in what order they run.
func TestPriority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		world(t, 1, func(ctx context.Context, c *comm.Comm) error {
			var fs []*comm.Future[int]
			for _, priority := range []int{0, 0, 0, -1, 5, 0, 7, 5} { // the second is given back: the first takes long
				fs = append(fs, naps.Submit(ctx, time.Second, comm.Priority(priority)))
			}
			var order []int
			for i := range comm.Completed(ctx, fs...) {
				order = append(order, i)
			}
			if want := []int{0, 6, 4, 7, 1, 2, 5, 3}; !slices.Equal(order, want) {
				return fmt.Errorf("in the order %v, want %v", order, want)
			}
			return nil
		})
	})
}

func TestRetries(t *testing.T) {
	world(t, 3, onZero(func(ctx context.Context, c *comm.Comm) error {
		if n, err := failsAtFirst.Call(ctx, 2, comm.Retries(2)); n != 2 || err != nil {
			return fmt.Errorf("two failures, two retries: %d, %v", n, err)
		}
		var failed *comm.TaskError
		if _, err := failsAtFirst.Call(ctx, 3, comm.Retries(2)); !errors.As(err, &failed) || failed.Attempt != 2 {
			return fmt.Errorf("three failures, two retries: %v", err)
		}
		if _, err := failsAtFirst.Call(ctx, 1); !errors.As(err, &failed) || failed.Attempt != 0 {
			return fmt.Errorf("no retries: %v", err)
		}
		if _, err := failsAtFirst.Call(ctx, -1, comm.Retries(9)); !errors.As(err, &failed) || failed.Attempt != 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("NoRetry: %v", err)
		}
		return nil
	}))
}

func TestSetSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		world(t, 3, onZero(func(ctx context.Context, c *comm.Comm) error {
			for _, n := range []int{1, 2, 7, 3} {
				if err := c.SetSlots(ctx, n); err != nil || c.Slots() != n {
					return fmt.Errorf("%d slots after SetSlots(%d), %v", c.Slots(), n, err)
				}
				start := time.Now()
				for d := range naps.Unordered(ctx, slices.Values(slices.Repeat([]time.Duration{time.Second}, 42))) {
					if d.Err != nil {
						return d.Err
					}
				}
				if took, want := time.Since(start), time.Duration(42/n)*time.Second; took != want {
					return fmt.Errorf("42 s of work on %d slots take %v, want %v", n, took, want)
				}
			}
			if err := c.SetSlots(ctx, 0); err == nil || !strings.Contains(err.Error(), "SetSlots(0): want 1") {
				return fmt.Errorf("SetSlots(0): %v", err)
			}
			return nil
		}))
	})
}

// TestSetSlotsEverywhere has all ranks set them at the same time.
func TestSetSlotsEverywhere(t *testing.T) {
	world(t, 4, func(ctx context.Context, c *comm.Comm) error {
		for n := range 20 {
			if err := c.SetSlots(ctx, n+1+c.Rank()%2); err != nil {
				return err
			}
		}
		return nil
	})
}
