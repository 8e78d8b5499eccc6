package comm_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pprun/pprun/comm"
)

type point struct{ X, Y int }

// missing is an error that travels as a value.
type missing struct{ Names []string }

func (e *missing) Error() string { return fmt.Sprint("missing: ", e.Names) }

func init() { comm.RegisterErrorType[*missing]() }

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
	misses = comm.Register("misses", func(_ context.Context, names []string) (int, error) {
		return 0, fmt.Errorf("look: %w", errors.Join(fs.ErrNotExist, &missing{names}))
	})
	panics = comm.Register("panics", func(_ context.Context, text string) (int, error) { panic(text) })
	exits  = comm.Register("exits", func(context.Context, int) (int, error) { runtime.Goexit(); return 0, nil })
	echo   = comm.Register("echo", func(_ context.Context, b []byte) ([]byte, error) { return b, nil })
	_      = comm.Register("add", func(_ context.Context, p point) (int, error) { return p.X + p.Y, nil })
	blocks = comm.Register("blocks", func(ctx context.Context, _ int) (int, error) {
		began <- struct{}{}
		<-ctx.Done()
		ended <- struct{}{}
		return 0, ctx.Err()
	})
	naps   = comm.Register("naps", func(_ context.Context, d time.Duration) (int, error) { time.Sleep(d); return 1, nil })
	inTask = comm.Register("in_task", func(ctx context.Context, _ int) (bool, error) { return comm.InTask(ctx), nil })
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
