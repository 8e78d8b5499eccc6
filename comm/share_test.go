package comm_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pprun/pprun/comm"
)

type table struct {
	Name  string
	Cells map[string][]float64
}

// A query has Refs in all places that values may have.
type query struct {
	One   comm.Ref[table]
	List  []comm.Ref[[]float64]
	Named map[string]comm.Ref[string]
	Maybe *comm.Ref[int]
}

var (
	ask = comm.Register("ask", func(ctx context.Context, q query) (string, error) {
		t, err := q.One.Get(ctx)
		if err != nil {
			return "", err
		}
		sum := 0.0
		for _, r := range q.List {
			xs, err := r.Get(ctx)
			if err != nil {
				return "", err
			}
			for _, x := range xs {
				sum += x
			}
		}
		text, err := q.Named["text"].Get(ctx)
		if err != nil {
			return "", err
		}
		n, err := q.Maybe.Get(ctx)
		return fmt.Sprint(t.Name, t.Cells["a"], sum, text, n), err
	})
	lookUp = comm.Register("look_up", func(ctx context.Context, r comm.Ref[[]float64]) (float64, error) {
		xs, err := r.Get(ctx)
		return xs[len(xs)-1], err
	})
	keeps = comm.Register("keeps", func(ctx context.Context, n int) (comm.Ref[[]int], error) {
		return comm.Share(ctx, make([]int, n))
	})
	holds = comm.Register("holds", func(ctx context.Context, r comm.Ref[[]float64]) (string, error) {
		_, err := r.Get(ctx)
		return fmt.Sprint(errors.Is(err, comm.ErrReleased)), nil
	})
)

func TestShare(t *testing.T) {
	world(t, 3, onZero(func(ctx context.Context, c *comm.Comm) error {
		one, err := comm.Share(ctx, table{"t", map[string][]float64{"a": {1, 2}}})
		if err != nil {
			return err
		}
		long := make([]float64, 300_000) // several pieces
		for i := range long {
			long[i] = 1
		}
		xs, err := comm.Share(ctx, long)
		if err != nil {
			return err
		}
		long[0] = 1000 // too late
		text, err := comm.Share(ctx, "text")
		if err != nil {
			return err
		}
		empty, err := comm.Share(ctx, 7)
		if err != nil {
			return err
		}
		q := query{one, []comm.Ref[[]float64]{xs, xs}, map[string]comm.Ref[string]{"text": text}, &empty}
		got, err := ask.OnAll(ctx, q)
		if err != nil {
			return err
		}
		if want := "t[1 2] 600000text7"; got[0] != want || got[1] != want || got[2] != want {
			return fmt.Errorf("got %q, want %q from each", got, want)
		}
		return nil
	}))
}

// TestShareFromTask has a task share what it made, and others use it where it is.
func TestShareFromTask(t *testing.T) {
	world(t, 3, onZero(func(ctx context.Context, c *comm.Comm) error {
		for _, n := range []int{0, 1, 1_000_000} {
			refs, err := keeps.OnAll(ctx, n)
			if err != nil {
				return err
			}
			for rank, r := range refs {
				if xs, err := r.Get(ctx); err != nil || len(xs) != n {
					return fmt.Errorf("of rank %d: %d numbers, %v", rank, len(xs), err)
				}
			}
		}
		return nil
	}))
}

func TestRelease(t *testing.T) {
	world(t, 3, func(ctx context.Context, c *comm.Comm) error {
		if c.Rank() != 1 {
			return nil
		}
		r, err := comm.Share(ctx, make([]float64, 200_000))
		if err != nil {
			return err
		}
		if _, err := lookUp.OnAll(ctx, r); err != nil {
			return err
		}
		mine, err := r.Get(ctx)
		if err != nil {
			return err
		}
		if err := r.Release(ctx); err != nil {
			return err
		}
		gone, err := holds.OnAll(ctx, r)
		if err != nil || slices.Contains(gone, "false") || len(mine) != 200_000 {
			return fmt.Errorf("released: %q, %v", gone, err)
		}
		if err := r.Release(ctx); err != nil {
			return err
		}
		r, err = comm.Share(ctx, make([]float64, 200_000))
		if err != nil {
			return err
		}
		_, err = lookUp.OnAll(ctx, r)
		return err
	})
}

func TestRefThatIsNone(t *testing.T) {
	world(t, 1, func(ctx context.Context, c *comm.Comm) error {
		var r comm.Ref[int]
		if _, err := r.Get(ctx); err == nil || err.Error() != "comm: get a shared int: the Ref is zero: it comes from no Share" {
			return fmt.Errorf("got %v", err)
		}
		if err := r.Release(ctx); err != nil {
			return err
		}
		if err := r.UnmarshalBinary([]byte("short")); err == nil {
			return errors.New("a short name is no error")
		}
		return nil
	})
	if _, err := comm.Share(t.Context(), 1); err == nil {
		t.Error("Share without a Comm")
	}
}

var (
	opened  atomic.Int32
	opening = make(chan error) // what the init function returns
	opens   = comm.Once(func(ctx context.Context) (int32, error) {
		n := opened.Add(1)
		select {
		case err := <-opening:
			return n, err
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	})
	counted = comm.Once(func(ctx context.Context) (*int, error) {
		c, _ := comm.FromContext(ctx)
		n := c.Rank()
		return &n, nil
	})
	useCounted = comm.Register("use_counted", func(ctx context.Context, _ int) (int, error) {
		p, err := counted(ctx)
		if err != nil {
			return 0, err
		}
		q, err := counted(ctx)
		if p != q {
			return -1, err
		}
		return *p, err
	})
	trips = comm.Once(func(ctx context.Context) (int, error) { panic("tripped") })
	trip  = comm.Register("trip", func(ctx context.Context, _ int) (int, error) { return trips(ctx) })
	asks  = comm.Once(func(ctx context.Context) (int, error) { return double.Call(ctx, 21) })
	useAs = comm.Register("use_asks", func(ctx context.Context, _ int) (int, error) { return asks(ctx) })
	loops func(context.Context) (int, error)
)

func init() { loops = comm.Once(func(ctx context.Context) (int, error) { return loops(ctx) }) }

func TestOnce(t *testing.T) {
	world(t, 3, onZero(func(ctx context.Context, c *comm.Comm) error {
		for range 2 {
			ranks, err := useCounted.OnAll(ctx, 0)
			if err != nil || !slices.Equal(ranks, []int{0, 1, 2}) {
				return fmt.Errorf("got %v, %v", ranks, err)
			}
		}
		if n, err := useAs.Call(ctx, 0); n != 42 || err != nil { // its init waits for another task
			return fmt.Errorf("got %d, %v", n, err)
		}
		_, err := trip.Call(ctx, 0)
		var failed *comm.TaskError
		if !errors.As(err, &failed) || len(failed.Stack) == 0 {
			return fmt.Errorf("panic in init: %v", err)
		}
		if _, err := loops(ctx); err == nil {
			return errors.New("an init that waits for itself returns no error")
		}
		return nil
	}))
	if _, err := counted(t.Context()); err == nil {
		t.Error("Once without a Comm")
	}
}

func TestOnceWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opening = make(chan error)
		defer func() { opening = make(chan error) }()
		opened.Store(0)
		world(t, 1, func(ctx context.Context, c *comm.Comm) error {
			type result struct {
				n   int32
				err error
			}
			results := make(chan result, 10)
			wait := func(ctx context.Context) {
				n, err := opens(ctx)
				results <- result{n, err}
			}
			hasty, stop := context.WithTimeout(ctx, time.Minute)
			defer stop()
			go wait(hasty) // the first, which gives up
			synctest.Wait()
			for range 3 {
				go wait(ctx)
			}
			if r := <-results; !errors.Is(r.err, context.DeadlineExceeded) {
				return fmt.Errorf("who waits a minute: %v", r)
			}
			why := errors.New("no luck")
			opening <- why
			for range 3 {
				if r := <-results; !errors.Is(r.err, why) {
					return fmt.Errorf("who waits for an init that fails: %v", r)
				}
			}
			go wait(ctx) // an error is not kept
			opening <- nil
			if r := <-results; r.n != 2 || r.err != nil {
				return fmt.Errorf("after that: %v", r)
			}
			if n, err := opens(ctx); n != 2 || err != nil {
				return fmt.Errorf("once more: %d, %v", n, err)
			}
			return nil
		})
		opened.Store(0)
		world(t, 1, func(ctx context.Context, c *comm.Comm) error { // another Comm; init hears that nobody waits
			hasty, stop := context.WithTimeout(ctx, time.Minute)
			defer stop()
			if _, err := opens(hasty); !errors.Is(err, context.DeadlineExceeded) {
				return fmt.Errorf("alone: %v", err)
			}
			synctest.Wait()
			go func() { opening <- nil }()
			if n, err := opens(ctx); n != 2 || err != nil {
				return fmt.Errorf("then: %d, %v", n, err)
			}
			return nil
		})
	})
}
