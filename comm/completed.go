package comm

import (
	"context"
	"iter"
	"sync"
)

// Completed yields all of the futures, each with its index, in the order in which their tasks end, however they end. When
// ctx ends, those that are left come at once, and Get(ctx) of them returns its error. Leaving the loop cancels nothing. In
// a running task it gives the task's slot to others while it waits.
func Completed[R any](ctx context.Context, fs ...*Future[R]) iter.Seq2[int, *Future[R]] {
	return func(yield func(int, *Future[R]) bool) {
		a := newArrivals[int]()
		var last *Comm
		for i, f := range fs {
			if !f.await(&waiter{fire: func(*call) { a.add(i) }}) {
				a.add(i)
			}
			if f.comm != nil && f.comm != last {
				last = f.comm
				last.up.flush()
			}
		}
		came := make([]bool, len(fs))
		for range fs {
			i, err := a.take(ctx)
			if err != nil {
				break
			}
			if came[i] = true; !yield(i, fs[i]) {
				return
			}
		}
		for i, f := range fs {
			if !came[i] && !yield(i, f) {
				return
			}
		}
	}
}

// Arrivals are what waiters leave for one goroutine to take. The list has no bound of its own: what may arrive has.
type arrivals[T any] struct {
	mu    sync.Mutex
	list  []T
	taken []T           // from list, of which taken[:n] was handed out
	n     int           // owned, as taken, by the goroutine that takes
	rung  chan struct{} // has room for one: list is not empty
}

func newArrivals[T any]() *arrivals[T] { return &arrivals[T]{rung: make(chan struct{}, 1)} }

func (a *arrivals[T]) add(v T) {
	a.mu.Lock()
	a.list = append(a.list, v)
	first := len(a.list) == 1
	a.mu.Unlock()
	if first {
		select {
		case a.rung <- struct{}{}:
		default:
		}
	}
}

// poll takes the next, if there is one.
func (a *arrivals[T]) poll() (v T, ok bool) {
	if a.n == len(a.taken) {
		clear(a.taken)
		a.mu.Lock()
		a.taken, a.list = a.list, a.taken[:0]
		a.mu.Unlock()
		a.n = 0
		if len(a.taken) == 0 {
			return v, false
		}
	}
	a.n++
	return a.taken[a.n-1], true
}

// take waits for the next. In a task it gives up the slot meanwhile. The error is that of ctx.
func (a *arrivals[T]) take(ctx context.Context) (v T, err error) {
	for {
		if v, ok := a.poll(); ok {
			return v, nil
		}
		if err := a.wait(ctx); err != nil {
			return v, err
		}
	}
}

func (a *arrivals[T]) wait(ctx context.Context) error {
	defer yield(ctx)()
	select {
	case <-a.rung:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
