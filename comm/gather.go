package comm

import (
	"context"
	"sync/atomic"
)

// Gather waits for all results and returns them in order. The first task to fail, or the end of ctx, cancels the rest
// and is the error.
func Gather[R any](ctx context.Context, fs ...*Future[R]) ([]R, error) {
	if err := gather(ctx, fs); err != nil {
		for _, f := range fs {
			f.Cancel()
		}
		return nil, err
	}
	results := make([]R, len(fs))
	for i, f := range fs {
		r, err := f.Get(ctx)
		if err != nil {
			return nil, err
		}
		results[i] = r
	}
	return results, nil
}

// gather waits until all calls have ended or one has failed. One waiter serves them all.
func gather[R any](ctx context.Context, fs []*Future[R]) error {
	var (
		pending atomic.Int64
		failed  atomic.Pointer[call]
		over    = make(chan struct{}, 2) // room for the first failure and for the end of the last
	)
	pending.Store(1) // until all are counted
	ended := func(k *call) {
		if k.failed() && failed.CompareAndSwap(nil, k) {
			over <- struct{}{}
		}
		if pending.Add(-1) == 0 {
			over <- struct{}{}
		}
	}
	w := &waiter{fire: ended}
	var last *Comm
	for _, f := range fs {
		pending.Add(1)
		if !f.await(w) {
			ended(&f.call)
		}
		if f.comm != last && f.comm != nil {
			last = f.comm
			last.up.flush()
		}
	}
	if pending.Add(-1) != 0 && failed.Load() == nil {
		defer yield(ctx)()
		select {
		case <-over:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if k := failed.Load(); k != nil {
		return k.outcome()
	}
	return nil
}
