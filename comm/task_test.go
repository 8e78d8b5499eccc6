package comm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pprun/pprun/comm"
)

func TestSubmitFromEveryRank(t *testing.T) {
	for _, size := range []int{1, 2, 5} {
		world(t, size, func(ctx context.Context, c *comm.Comm) error {
			var fs []*comm.Future[int]
			for i := range 500 {
				fs = append(fs, double.Submit(ctx, i))
			}
			rs, err := comm.Gather(ctx, fs...)
			if err != nil {
				return err
			}
			for i, r := range rs {
				if r != 2*i {
					return fmt.Errorf("double(%d) = %d", i, r)
				}
			}
			if s := c.Stats(); s.Active != 0 || s.Slots != size {
				return fmt.Errorf("stats %+v", s)
			}
			return nil
		})
	}
}

func TestMap(t *testing.T) {
	world(t, 3, onZero(func(ctx context.Context, c *comm.Comm) error {
		i := 0
		count := func(yield func(int) bool) {
			for n := 0; yield(n); n++ {
			}
		}
		for r, err := range double.Map(ctx, count) {
			if err != nil || r != 2*i {
				return fmt.Errorf("element %d: %d, %v", i, r, err)
			}
			if i++; i == 10_000 {
				break
			}
		}
		var got []string
		for _, err := range fails.Map(ctx, slices.Values([]string{"a", "b"})) {
			var failed *comm.TaskError
			if !errors.As(err, &failed) {
				return fmt.Errorf("got %v", err)
			}
			got = append(got, failed.Err.Error())
		}
		if want := []string{"a", "b"}; !slices.Equal(got, want) {
			return fmt.Errorf("errors %q, want %q", got, want)
		}
		return nil
	}))
}

func TestOnAll(t *testing.T) {
	world(t, 4, func(ctx context.Context, c *comm.Comm) error {
		rs, err := whoami.OnAll(ctx, struct{}{})
		if err != nil || !slices.Equal(rs, []int{0, 1, 2, 3}) {
			return fmt.Errorf("OnAll: %v, %v", rs, err)
		}
		return nil
	}, comm.Slots(1))
}

func TestNested(t *testing.T) {
	world(t, 3, onZero(func(ctx context.Context, c *comm.Comm) error {
		n, err := fib.Call(ctx, 15)
		if err != nil || n != 610 {
			return fmt.Errorf("fib(15) = %d, %v", n, err)
		}
		return nil
	}))
}

func TestTaskWithGoroutines(t *testing.T) {
	world(t, 2, onZero(func(ctx context.Context, c *comm.Comm) error {
		for range 20 {
			if n, err := spreads.Call(ctx, 10); n != 90 || err != nil {
				return fmt.Errorf("got %d, %v", n, err)
			}
		}
		left.Wait()
		n, err := double.Call(ctx, 1)
		if n != 2 || err != nil {
			return fmt.Errorf("after all that: %d, %v", n, err)
		}
		return nil
	}))
	drain()
}

func drain() {
	for len(began) > 0 {
		<-began
	}
	for len(ended) > 0 {
		<-ended
	}
}

func TestErrors(t *testing.T) {
	world(t, 2, onZero(func(ctx context.Context, c *comm.Comm) error {
		_, err := absent.Call(ctx, "x")
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "look for x: file does not exist") {
			return fmt.Errorf("absent: %v", err)
		}
		_, err = misses.Call(ctx, []string{"a", "b"}, comm.OnRanks(1))
		if m, ok := errors.AsType[*missing](err); !ok || !slices.Equal(m.Names, []string{"a", "b"}) || !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("misses: %v, %v", err, m)
		}
		_, err = panics.Call(ctx, "no way")
		var failed *comm.TaskError
		if !errors.As(err, &failed) || !failed.Panic || failed.Func != "panics" || !bytes.Contains(failed.Stack, []byte("functions_test.go")) {
			return fmt.Errorf("panics: %+v", err)
		}
		if text := err.Error(); strings.Contains(text, "\n") || !strings.HasSuffix(text, ": panic: no way") {
			return fmt.Errorf("panics: %q, want one line", text)
		}
		for range 3 {
			if _, err = exits.Call(ctx, 0); err == nil || !strings.Contains(err.Error(), "Goexit") {
				return fmt.Errorf("exits: %v", err)
			}
		}
		if _, err := comm.Gather(ctx, double.Submit(ctx, 1), fails.Submit(ctx, "f")); err == nil || !strings.Contains(err.Error(), "f") {
			return fmt.Errorf("gather: %v", err)
		}
		n, err := double.Call(ctx, 4)
		if n != 8 || err != nil {
			return fmt.Errorf("after all that: %v %v", n, err)
		}
		return nil
	}))
}

// What cannot be encoded fails before it is sent, or fails its own future only.
func TestValuesThatCannotTravel(t *testing.T) {
	world(t, 2, onZero(func(ctx context.Context, c *comm.Comm) error {
		ring := map[string]any{}
		ring["me"] = ring
		for want, value := range map[string]any{
			`: ["me"]["me"]`:           ring,
			": [1].C: chan int cannot": []any{1, struct{ C chan int }{}},
		} {
			for _, f := range []*comm.Future[any]{returns.Submit(ctx, value), comm.Submit[any](ctx, "returns", value)} {
				select {
				case <-f.Done():
				default:
					return errors.New("it was sent")
				}
				if _, err := f.Get(ctx); err == nil || !strings.Contains(err.Error(), "comm: submit returns: encode the argument"+want) {
					return fmt.Errorf("%v, want %s", err, want)
				}
			}
		}
		for what, want := range map[string]string{"ring": `["me"]`, "chan": "chan int cannot be encoded", "func": "func() cannot be encoded"} {
			_, err := returns.Call(ctx, what, comm.OnRanks(1))
			var failed *comm.TaskError
			if !errors.As(err, &failed) || failed.Rank != 1 || !strings.Contains(err.Error(), "encode the result: "+want) {
				return fmt.Errorf("%s: %v, want %s", what, err, want)
			}
		}
		v, err := returns.Call(ctx, "still here", comm.OnRanks(1))
		if v != "still here" || err != nil {
			return fmt.Errorf("rank 1 after all that: %v, %v", v, err)
		}
		return nil
	}))
}

// returns returns what it gets, or what its name says.
var returns = comm.Register("returns", func(_ context.Context, v any) (any, error) {
	switch v {
	case "ring":
		ring := map[string]any{}
		ring["me"] = ring
		return ring, nil
	case "chan":
		return make(chan int), nil
	case "func":
		return func() {}, nil
	}
	return v, nil
})

func TestByName(t *testing.T) {
	world(t, 2, onZero(func(ctx context.Context, c *comm.Comm) error {
		for _, x := range []struct {
			want string
			f    *comm.Future[int]
		}{
			{"6", comm.Submit[int](ctx, "double", 3)},
			{"6", comm.Submit[int](ctx, "double", uint8(3))},
			{"7", comm.Submit[int](ctx, "add", 3, 4)},
			{"7", comm.Submit[int](ctx, "add", point{3, 4})},
			{`no function "nope" is registered`, comm.Submit[int](ctx, "nope", 1)},
			{"have 2 arguments, want 1 (int)", comm.Submit[int](ctx, "double", 1, 2)},
			{"arg 1: have string, want int", comm.Submit[int](ctx, "double", "1")},
			{"arg 1: 18446744073709551615 overflows int", comm.Submit[int](ctx, "double", uint64(1<<64-1))},
			{"arg 2: have string, want int", comm.Submit[int](ctx, "add", 3, "4")},
			{"have 3 arguments, want the 2 fields of comm_test.point", comm.Submit[int](ctx, "add", 1, 2, 3)},
			{"arg 1: have nil, want int", comm.Submit[int](ctx, "double", nil)},
			{"it returns []uint8, not int", comm.Submit[int](ctx, "echo", []byte("x"))},
		} {
			n, err := x.f.Get(ctx)
			got := fmt.Sprint(n)
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, x.want) {
				return fmt.Errorf("got %q, want %q", got, x.want)
			}
		}
		return nil
	}))
}

func TestCancel(t *testing.T) {
	world(t, 2, onZero(func(ctx context.Context, c *comm.Comm) error {
		f := blocks.Submit(ctx, 0)
		<-began
		f.Cancel()
		if _, err := f.Get(ctx); !errors.Is(err, context.Canceled) {
			return fmt.Errorf("canceled: %v", err)
		}
		<-ended
		scope, cancel := context.WithCancelCause(ctx)
		var fs []*comm.Future[int]
		for range 50 {
			fs = append(fs, blocks.Submit(scope, 0))
		}
		<-began
		<-began
		why := errors.New("enough")
		cancel(why)
		for _, f := range fs {
			if _, err := f.Get(ctx); !errors.Is(err, why) {
				return fmt.Errorf("of a context that ended: %v", err)
			}
		}
		<-ended
		<-ended
		if n, err := double.Call(ctx, 1); n != 2 || err != nil {
			return fmt.Errorf("after cancel: %d, %v", n, err)
		}
		if _, err := double.Call(scope, 1); !errors.Is(err, why) {
			return fmt.Errorf("in a context that has ended: %v", err)
		}
		return nil
	}))
	drain()
}

func TestThen(t *testing.T) {
	world(t, 2, onZero(func(ctx context.Context, c *comm.Comm) error {
		var busy, calls atomic.Int32
		var fs []*comm.Future[int]
		for i := range 100 {
			fs = append(fs, double.Submit(ctx, i).Then(func(n int, err error) {
				if busy.Add(1) != 1 || n != 2*i || err != nil {
					t.Errorf("callback %d: %d, %v", i, n, err)
				}
				calls.Add(1)
				busy.Add(-1)
			}))
		}
		rs, err := comm.Gather(ctx, fs...)
		if err != nil || calls.Load() != 100 || rs[99] != 198 {
			return fmt.Errorf("%d calls, %v, %v", calls.Load(), rs, err)
		}
		_, err = fails.Submit(ctx, "f").Then(func(int, error) {}).Get(ctx)
		var failed *comm.TaskError
		if !errors.As(err, &failed) {
			return fmt.Errorf("then of a failure: %v", err)
		}
		<-double.Submit(ctx, 1).Done()
		return nil
	}))
}

func TestLimitsBlockSubmit(t *testing.T) {
	world(t, 2, onZero(func(ctx context.Context, c *comm.Comm) error {
		var fs []*comm.Future[[]byte]
		for range 200 {
			fs = append(fs, echo.Submit(ctx, make([]byte, 300)))
			if n := c.Stats().Active; n > 10 {
				return fmt.Errorf("%d tasks wait, the limit is 10", n)
			}
		}
		_, err := comm.Gather(ctx, fs...)
		return err
	}), comm.Limits(10, 2000))
}

func TestNoComm(t *testing.T) {
	if _, err := double.Call(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "carries no Comm") {
		t.Errorf("got %v", err)
	}
}

func TestInTask(t *testing.T) {
	world(t, 1, func(ctx context.Context, c *comm.Comm) error {
		in, err := inTask.Call(ctx, 0)
		if !in || comm.InTask(ctx) || err != nil {
			return fmt.Errorf("in task %v, outside %v, %v", in, comm.InTask(ctx), err)
		}
		return nil
	})
}

// TestSynctest shows that a job in one process lives in a bubble: an hour passes at once.
func TestSynctest(t *testing.T) {
	for range 2 { // a second bubble must not meet channels of the first
		synctest.Test(t, func(t *testing.T) {
			world(t, 3, onZero(func(ctx context.Context, c *comm.Comm) error {
				began := time.Now()
				f := naps.Submit(ctx, time.Hour)
				hasty, cancel := context.WithTimeout(ctx, time.Minute)
				defer cancel()
				if _, err := f.Get(hasty); !errors.Is(err, context.DeadlineExceeded) {
					return fmt.Errorf("after a minute: %v", err)
				}
				n, err := f.Get(ctx)
				if took := time.Since(began); n != 1 || err != nil || took != time.Hour {
					return fmt.Errorf("%d, %v after %v", n, err, took)
				}
				if s := c.Stats(); s.Nodes[0].Time != time.Hour {
					return fmt.Errorf("stats %+v", s)
				}
				return nil
			}))
		})
	}
}

func TestThenOfAFailure(t *testing.T) {
	called := false
	_, err := double.Submit(t.Context(), 1).Then(func(int, error) { called = true }).Get(t.Context())
	if !called || err == nil || !strings.Contains(err.Error(), "carries no Comm") {
		t.Errorf("called: %v, %v", called, err)
	}
}

func TestWriteStats(t *testing.T) {
	world(t, 2, onZero(func(ctx context.Context, c *comm.Comm) error {
		if _, err := whoami.OnAll(ctx, struct{}{}); err != nil {
			return err
		}
		var b strings.Builder
		if err := c.WriteStats(&b); err != nil {
			return err
		}
		want := regexp.MustCompile(`^Job execution statistics:
 job count \| % of all jobs \| job time sum \| time per job \| job server
         1 \|         50\.00 \| {7}\d\.\d{4} \| {5}\d\.\d{6} \| node0
         1 \|         50\.00 \| {7}\d\.\d{4} \| {5}\d\.\d{6} \| node1
Time elapsed since server creation [\d.e-]+
0 active tasks, 2 cores
$`)
		if !want.MatchString(b.String()) {
			return fmt.Errorf("got\n%s", b.String())
		}
		return nil
	}))
}
