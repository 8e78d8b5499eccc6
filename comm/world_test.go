package comm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pprun/pprun/comm"
)

type point struct{ X, Y int }

var (
	double = comm.Register("double", func(_ context.Context, n int) (int, error) { return 2 * n, nil })
	fib    *comm.Func[int, int]
	whoami = comm.Register("whoami", func(ctx context.Context, _ struct{}) (int, error) {
		c, _ := comm.FromContext(ctx)
		return c.Rank(), nil
	})
	fails  = comm.Register("fails", func(_ context.Context, text string) (int, error) { return 0, errors.New(text) })
	absent = comm.Register("absent", func(_ context.Context, name string) (string, error) {
		return "", fmt.Errorf("look for %s: %w", name, fs.ErrNotExist)
	})
	panics = comm.Register("panics", func(_ context.Context, text string) (int, error) { panic(text) })
	exits  = comm.Register("exits", func(context.Context, int) (int, error) { runtime.Goexit(); return 0, nil })
	echo   = comm.Register("echo", func(_ context.Context, b []byte) ([]byte, error) { return b, nil })
	add    = comm.Register("add", func(_ context.Context, p point) (int, error) { return p.X + p.Y, nil })
	blocks = comm.Register("blocks", func(ctx context.Context, _ int) (int, error) {
		began <- struct{}{}
		<-ctx.Done()
		ended <- struct{}{}
		return 0, ctx.Err()
	})
	inTask   = comm.Register("in_task", func(ctx context.Context, _ int) (bool, error) { return comm.InTask(ctx), nil })
	unsorted = comm.Register("not_finite", func(_ context.Context, v map[string]any) (map[string]any, error) { return v, nil })
)

// spreads submits from goroutines of its own, and leaves one behind that still waits when it returns.
var spreads = comm.Register("spreads", func(ctx context.Context, n int) (int, error) {
	var sum atomic.Int64
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			if r, err := double.Call(ctx, i); err == nil {
				sum.Add(int64(r))
			}
		})
	}
	all.Wait()
	left.Add(1)
	waiting := make(chan struct{})
	go func() {
		defer left.Done()
		f := blocks.Submit(ctx, 0)
		close(waiting)
		f.Get(context.WithoutCancel(ctx))
	}()
	<-waiting
	return int(sum.Load()), nil
})

var left sync.WaitGroup

var began, ended = make(chan struct{}, 100), make(chan struct{}, 100)

func init() {
	fib = comm.Register("fib", func(ctx context.Context, n int) (int, error) {
		if n < 2 {
			return n, nil
		}
		a, b := fib.Submit(ctx, n-1), fib.Submit(ctx, n-2)
		x, err := a.Get(ctx)
		if err != nil {
			return 0, err
		}
		y, err := b.Get(ctx)
		return x + y, err
	})
}

// world runs f on every rank of a job in this process and closes the ranks.
func world(t *testing.T, size int, f func(ctx context.Context, c *comm.Comm) error, opts ...comm.InitOption) {
	t.Helper()
	ctx := t.Context()
	comms, err := comm.World(ctx, size, opts...)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for _, c := range comms {
		all.Go(func() {
			if err := f(comm.NewContext(ctx, c), c); err != nil {
				t.Errorf("rank %d: %v", c.Rank(), err)
				c.Abort(err)
			}
			if err := c.Close(); err != nil && !t.Failed() {
				t.Errorf("rank %d: close: %v", c.Rank(), err)
			}
		})
	}
	all.Wait()
}

// onZero runs f on rank 0 only.
func onZero(f func(ctx context.Context, c *comm.Comm) error) func(context.Context, *comm.Comm) error {
	return func(ctx context.Context, c *comm.Comm) error {
		if c.Rank() > 0 {
			return nil
		}
		return f(ctx, c)
	}
}

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
		_, err = panics.Call(ctx, "no way")
		var failed *comm.TaskError
		if !errors.As(err, &failed) || !failed.Panic || failed.Func != "panics" || !bytes.Contains(failed.Stack, []byte("world_test.go")) {
			return fmt.Errorf("panics: %+v", err)
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

func TestLargeValues(t *testing.T) {
	world(t, 3, func(ctx context.Context, c *comm.Comm) error {
		for _, n := range []int{0, 1, 64 << 10, 64<<10 + 1, 1 << 20, 1<<20 + 1, 2<<20 + 3} {
			b := make([]byte, n)
			r := rand.NewChaCha8([32]byte{byte(n)})
			r.Read(b)
			rs, err := echo.OnAll(ctx, b)
			if err != nil {
				return err
			}
			for rank, r := range rs {
				if !bytes.Equal(r, b) {
					return fmt.Errorf("%d bytes came back from rank %d as %d others", n, rank, len(r))
				}
			}
		}
		return nil
	})
}

func TestMessages(t *testing.T) {
	const size = 3
	world(t, size, func(ctx context.Context, c *comm.Comm) error {
		lens := []int{0, 1, 100, 70_000, 3, 3 << 20, 5, 1 << 20, 2}
		for dst := range size {
			for i, n := range lens {
				b := bytes.Repeat([]byte{byte(i)}, n)
				if err := c.SendMessage(ctx, dst, 1<<63+uint64(i%2), b); err != nil {
					return err
				}
				clear(b) // the buffer is ours again
			}
		}
		for src := range size {
			for _, i := range []int{1, 3, 5, 7, 0, 2, 4, 6, 8} {
				b, err := c.RecvMessage(ctx, src, 1<<63+uint64(i%2))
				if err != nil {
					return err
				}
				if want := bytes.Repeat([]byte{byte(i)}, lens[i]); !bytes.Equal(b, want) {
					return fmt.Errorf("message %d from %d: %d bytes, want %d", i, src, len(b), len(want))
				}
			}
		}
		return nil
	})
}

func TestUnreadMessagesEndTheJob(t *testing.T) {
	ctx := t.Context()
	comms, err := comm.World(ctx, 2, comm.MaxUnread(1000))
	if err != nil {
		t.Fatal(err)
	}
	for range 11 {
		if err := comms[0].SendMessage(ctx, 1, 7, make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
	}
	_, err = comms[0].RecvMessage(ctx, 1, 7)
	var lost *comm.LostError
	if !errors.As(err, &lost) || lost.Rank != 1 || !strings.Contains(err.Error(), "more than 1000 bytes of messages") {
		t.Errorf("got %v", err)
	}
	closeAll(comms)
}

func closeAll(comms []*comm.Comm) {
	var all sync.WaitGroup
	for _, c := range comms {
		all.Go(func() { c.Close() })
	}
	all.Wait()
}

func TestAbort(t *testing.T) {
	ctx := t.Context()
	comms, err := comm.World(ctx, 3)
	if err != nil {
		t.Fatal(err)
	}
	f := blocks.Submit(comm.NewContext(ctx, comms[0]), 0)
	<-began
	comms[2].Abort(errors.New("no more"))
	var lost *comm.LostError
	if _, err := f.Get(ctx); !errors.As(err, &lost) || lost.Rank != 2 {
		t.Errorf("pending: %v", err)
	}
	if _, err := comms[1].RecvMessage(ctx, 0, 1); !errors.As(err, &lost) || lost.Node != "node2" {
		t.Errorf("receive: %v", err)
	}
	if _, err := double.Call(comm.NewContext(ctx, comms[1]), 0); !errors.As(err, &lost) {
		t.Errorf("submit: %v", err)
	}
	<-ended
	closeAll(comms)
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
