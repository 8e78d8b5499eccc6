package comm_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pprun/pprun/comm"
)

// awkward fails in a different way for some of its arguments.
var awkward = comm.Register("awkward", func(_ context.Context, n int) (int, error) {
	switch n % 100 {
	case 13:
		return 0, io.ErrUnexpectedEOF
	case 14:
		panic(fmt.Sprint("panic of ", n))
	case 15:
		runtime.Goexit()
	}
	return 2 * n, nil
})

// checkAwkward says what is wrong with a result of awkward.
func checkAwkward(n, result int, err error) error {
	var failed *comm.TaskError
	ok := false
	switch n % 100 {
	case 13:
		ok = errors.As(err, &failed) && errors.Is(err, io.ErrUnexpectedEOF)
	case 14:
		ok = errors.As(err, &failed) && failed.Panic && failed.Err.Error() == fmt.Sprint("panic of ", n) && len(failed.Stack) > 0
	case 15:
		ok = errors.As(err, &failed) && strings.Contains(err.Error(), "Goexit")
	default:
		ok = err == nil && result == 2*n
	}
	if !ok {
		return fmt.Errorf("element %d: %d, %v", n, result, err)
	}
	return nil
}

// ways are options under which Map and Unordered must give the same.
var ways = map[string][]comm.Option{
	"one by one":     nil,
	"window":         {comm.Window(3)},
	"chunks":         {comm.Chunk(7)},
	"large chunks":   {comm.Chunk(1000)},
	"auto":           {comm.Chunk(comm.Auto)},
	"narrow auto":    {comm.Chunk(comm.Auto), comm.Window(10)},
	"group, chunks":  {comm.Chunk(10), comm.Group("g"), comm.Priority(3)},
	"retries, chunk": {comm.Chunk(10), comm.Retries(1)},
}

func TestMapInManyWays(t *testing.T) {
	for name, opts := range ways {
		t.Run(name, func(t *testing.T) {
			world(t, 3, onZero(func(ctx context.Context, c *comm.Comm) error {
				n := 0
				for r, err := range awkward.Map(ctx, upTo(5000), opts...) {
					if err := checkAwkward(n, r, err); err != nil {
						return err
					}
					n++
				}
				if n != 5000 {
					return fmt.Errorf("%d results of 5000", n)
				}
				for range double.Map(ctx, upTo(0), opts...) {
					return errors.New("a result of nothing")
				}
				if s := c.Stats(); s.Active != 0 {
					return fmt.Errorf("%d tasks are left", s.Active)
				}
				return nil
			}))
		})
	}
}

func TestUnorderedInManyWays(t *testing.T) {
	for name, opts := range ways {
		t.Run(name, func(t *testing.T) {
			world(t, 3, onZero(func(ctx context.Context, c *comm.Comm) error {
				seen := make(map[int]bool)
				for d := range awkward.Unordered(ctx, upTo(5000), opts...) {
					if err := checkAwkward(d.Arg, d.Result, d.Err); err != nil {
						return err
					}
					if d.Index != d.Arg || seen[d.Index] || d.Rank < 0 || d.Node != fmt.Sprint("node", d.Rank) {
						return fmt.Errorf("%+v", d)
					}
					seen[d.Index] = true
				}
				if len(seen) != 5000 {
					return fmt.Errorf("%d results of 5000", len(seen))
				}
				return nil
			}))
		})
	}
}

// TestUnorderedOrder runs tasks of known length.
func TestUnorderedOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		world(t, 3, onZero(func(ctx context.Context, c *comm.Comm) error {
			seconds := []time.Duration{5 * time.Second, 1 * time.Second, 3 * time.Second}
			var order []int
			for d := range naps.Unordered(ctx, slices.Values(seconds)) {
				if d.Err != nil || d.Ran != d.Arg || d.Attempt != 0 || d.Queued != 0 {
					return fmt.Errorf("%+v", d)
				}
				order = append(order, d.Index)
			}
			if !slices.Equal(order, []int{1, 2, 0}) {
				return fmt.Errorf("in the order %v", order)
			}
			return nil
		}))
	})
}

// TestBreakCancels leaves loops whose tasks run and wait.
func TestBreakCancels(t *testing.T) {
	for name, opts := range map[string][]comm.Option{"one by one": nil, "chunks": {comm.Chunk(3)}} {
		t.Run(name, func(t *testing.T) {
			world(t, 2, onZero(func(ctx context.Context, c *comm.Comm) error {
				gate = make(chan struct{})
				in := func(yield func(int) bool) {
					for i := range 15 {
						if !yield(min(0, i/3-1)) {
							return
						}
					}
					close(gate) // the first result comes when all tasks are under way
				}
				for d := range blocksUnlessNegative.Unordered(ctx, in, append(opts, comm.Window(100))...) {
					if d.Arg != -1 || d.Err != nil {
						return fmt.Errorf("%+v", d)
					}
					<-began
					<-began
					break
				}
				<-ended
				<-ended
				if n, err := double.Call(ctx, 1); n != 2 || err != nil {
					return fmt.Errorf("afterwards: %d, %v", n, err)
				}
				return c.Wait(ctx)
			}))
			drain()
		})
	}
}

// gate lets negative arguments of blocksUnlessNegative through once it is closed.
var gate chan struct{}

var blocksUnlessNegative = comm.Register("blocks_unless_negative", func(ctx context.Context, n int) (int, error) {
	if n < 0 {
		<-gate
		return n, nil
	}
	began <- struct{}{}
	<-ctx.Done()
	ended <- struct{}{}
	return 0, ctx.Err()
})

// TestMapOfContextThatEnds gets an error for each element that was read in.
func TestMapOfContextThatEnds(t *testing.T) {
	world(t, 2, onZero(func(ctx context.Context, c *comm.Comm) error {
		for _, opts := range [][]comm.Option{nil, {comm.Chunk(5)}} {
			scope, cancel := context.WithCancelCause(ctx)
			why := errors.New("enough")
			read, failed := 0, 0
			in := func(yield func(int) bool) {
				for read < 20 {
					read++
					if read == 20 {
						cancel(why)
					}
					if !yield(read) {
						return
					}
				}
			}
			for _, err := range blocks.Map(scope, in, append(opts, comm.Window(50))...) {
				if !errors.Is(err, why) {
					return fmt.Errorf("got %v", err)
				}
				failed++
			}
			if failed != read {
				return fmt.Errorf("%d errors for %d elements", failed, read)
			}
		}
		return nil
	}))
	drain()
}

func TestWindow(t *testing.T) {
	world(t, 2, onZero(func(ctx context.Context, c *comm.Comm) error {
		for _, opts := range [][]comm.Option{{comm.Window(5)}, {comm.Window(5), comm.Chunk(2)}, {comm.Window(5), comm.Chunk(comm.Auto)}} {
			read, yielded := 0, 0
			in := func(yield func(int) bool) {
				for read < 1000 {
					read++
					if read-yielded > 5 {
						t.Errorf("read in %d elements with a Window of 5", read-yielded)
					}
					if !yield(read) {
						return
					}
				}
			}
			for _, err := range double.Map(ctx, in, opts...) {
				if err != nil {
					return err
				}
				yielded++
			}
			if yielded != 1000 {
				return fmt.Errorf("%d results", yielded)
			}
		}
		return nil
	}))
}

// TestSequenceThatWaits reads an element in only after the one before it has come back, so that a chunk which waits for
// more would wait for ever.
func TestSequenceThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		world(t, 2, onZero(func(ctx context.Context, c *comm.Comm) error {
			for _, opts := range [][]comm.Option{{comm.Chunk(100)}, {comm.Chunk(comm.Auto)}} {
				var ran atomic.Int32
				ranElsewhere = &ran
				in := func(yield func(int) bool) {
					for i := range 20 {
						for int(ran.Load()) < i {
							time.Sleep(time.Second)
						}
						if !yield(i) {
							return
						}
					}
				}
				n := 0
				for r, err := range counts.Map(ctx, in, opts...) {
					if r != n || err != nil {
						return fmt.Errorf("element %d: %d, %v", n, r, err)
					}
					n++
				}
			}
			return nil
		}))
	})
}

var ranElsewhere *atomic.Int32

var counts = comm.Register("counts", func(_ context.Context, n int) (int, error) {
	ranElsewhere.Add(1)
	return n, nil
})

// TestAutoChunkOfUnequals has a thousand quick elements before slow ones: no slot may be left with a chunk of them while
// others are idle.
func TestAutoChunkOfUnequals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		world(t, 4, onZero(func(ctx context.Context, c *comm.Comm) error {
			in := func(yield func(time.Duration) bool) {
				for i := range 1080 {
					d := time.Microsecond
					if i >= 1000 {
						d = time.Second
					}
					if !yield(d) {
						return
					}
				}
			}
			start := time.Now()
			n := 0
			for _, err := range naps.Map(ctx, in, comm.Chunk(comm.Auto)) {
				if err != nil {
					return err
				}
				n++
			}
			if took := time.Since(start); n != 1080 || took > 22*time.Second {
				return fmt.Errorf("%d results after %v; 80 s of work for 4 slots take 20 s", n, took)
			}
			return nil
		}))
	})
}

var failsAtFirst = comm.Register("fails_at_first", func(ctx context.Context, times int) (int, error) {
	n := comm.Attempt(ctx)
	switch {
	case times < 0:
		return 0, comm.NoRetry(fmt.Errorf("attempt %d: %w", n, io.ErrUnexpectedEOF))
	case n < times:
		return 0, fmt.Errorf("attempt %d", n)
	}
	return n, nil
})

func TestRetriesInChunk(t *testing.T) {
	world(t, 2, onZero(func(ctx context.Context, c *comm.Comm) error {
		in := []int{0, 1, 2, 3, 0, -1, 0}
		for d := range failsAtFirst.Unordered(ctx, slices.Values(in), comm.Chunk(4), comm.Retries(2)) {
			switch {
			case d.Arg == 3:
				if d.Err == nil || !strings.HasSuffix(d.Err.Error(), "attempt 2") || d.Attempt != 2 {
					return fmt.Errorf("three failures, two retries: %+v", d)
				}
			case d.Arg == -1:
				if !errors.Is(d.Err, io.ErrUnexpectedEOF) || d.Attempt != 0 {
					return fmt.Errorf("NoRetry: %+v", d)
				}
			case d.Err != nil || d.Result != d.Arg || d.Attempt != d.Arg:
				return fmt.Errorf("%+v", d)
			}
		}
		return nil
	}))
}

func TestTimeoutInChunk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		world(t, 1, onZero(func(ctx context.Context, c *comm.Comm) error {
			in := []time.Duration{time.Second, time.Hour, 2 * time.Second, 50 * time.Second}
			i := 0
			for n, err := range patient.Map(ctx, slices.Values(in), comm.Chunk(10)) {
				if late := i == 1; late != errors.Is(err, context.DeadlineExceeded) || !late && n != 1 {
					return fmt.Errorf("element %d: %d, %v", i, n, err)
				}
				i++
			}
			return nil
		}))
	})
}

// TestElementsHaveLives shows that the context of an element of a chunk ends with it.
func TestElementsHaveLives(t *testing.T) {
	world(t, 1, onZero(func(ctx context.Context, c *comm.Comm) error {
		for n, err := range remembers.Map(ctx, upTo(10), comm.Chunk(10)) {
			if n != 0 || err != nil {
				return fmt.Errorf("%d, %v", n, err)
			}
		}
		return nil
	}))
}

// remembers returns how many contexts of those before it have not ended.
var remembers = comm.Register("remembers", func(ctx context.Context, n int) (int, error) {
	if n == 0 {
		livesSeen = nil
	}
	alive := 0
	for _, old := range livesSeen {
		if old.Err() == nil {
			alive++
		}
	}
	livesSeen = append(livesSeen, ctx)
	return alive, nil
})

var livesSeen []context.Context

// TestNestedInChunk has elements that wait for tasks on the only slot there is.
func TestNestedInChunk(t *testing.T) {
	world(t, 1, onZero(func(ctx context.Context, c *comm.Comm) error {
		n := 0
		for r, err := range fib.Map(ctx, upTo(12), comm.Chunk(4)) {
			if want := []int{0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89}[n]; r != want || err != nil {
				return fmt.Errorf("fib(%d) = %d, %v", n, r, err)
			}
			n++
		}
		return nil
	}))
}

// TestLargeElements has results that fill chunks, and arguments that are too large for one.
func TestLargeElements(t *testing.T) {
	world(t, 2, onZero(func(ctx context.Context, c *comm.Comm) error {
		in := [][]byte{make([]byte, 3<<20), make([]byte, 10), make([]byte, 1000_000), make([]byte, 900_000)}
		for i := range 8 {
			in = append(in, make([]byte, 1000_000+i))
		}
		for _, opt := range []comm.Option{comm.Chunk(100), comm.Chunk(comm.Auto)} {
			i := 0
			for b, err := range echo.Map(ctx, slices.Values(in), opt) {
				if len(b) != len(in[i]) || err != nil {
					return fmt.Errorf("element %d: %d bytes, %v", i, len(b), err)
				}
				i++
			}
		}
		return nil
	}))
}
