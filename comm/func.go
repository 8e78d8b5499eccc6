package comm

import (
	"context"
	"errors"
	"unsafe"
)

// With returns f with other defaults for its options. It is cheap to use; making it is not meant for every task.
func (f *Func[A, R]) With(opts ...Option) *Func[A, R] {
	return &Func[A, R]{f.fn, f.options.with(opts)}
}

// Submit sends a task off: f is called with a in some rank that has a free slot. It returns at once while fewer than
// 1,000,000 tasks and 1 GiB of arguments wait (see Limits), beyond that it blocks until there is room or ctx ends. The
// argument is encoded before Submit returns. When ctx ends before the result is there, the task is canceled.
// A Func finds its Comm in ctx, else it is the process's own.
func (f *Func[A, R]) Submit(ctx context.Context, a A, opts ...Option) *Future[R] {
	return f.submit(ctx, &a, opts, anyRank)
}

// Call is Submit and Get.
func (f *Func[A, R]) Call(ctx context.Context, a A, opts ...Option) (R, error) {
	return f.submit(ctx, &a, opts, anyRank).get(ctx, true)
}

func (f *Func[A, R]) submit(ctx context.Context, a *A, opts []Option, dst uint32) *Future[R] {
	c, err := find(ctx)
	if err != nil {
		return newFailed[R](err)
	}
	return submitTo[R](ctx, c, f.fn, unsafe.Pointer(a), f.options.forOne(opts), dst)
}

func submitTo[R any](ctx context.Context, c *Comm, fn *function, arg unsafe.Pointer, options *optionSet, dst uint32) *Future[R] {
	k := new(Future[R])
	k.comm, k.fn = c, fn
	p, err := options.in(c)
	if err != nil {
		k.fail(errorf("submit %s: %w", fn.name, err))
		return k
	}
	k.flags = nested(ctx)
	payload, err := c.appendArgument(&k.call, append(k.small[:taskHeadLen], p.task...), arg)
	if err != nil {
		k.fail(errorf("submit %s: encode the argument: %w", fn.name, err))
		return k
	}
	c.submit(ctx, &k.call, p, payload, dst)
	return k
}

// OnAll calls f with a once on every rank; result i is that of rank i, zero where that was removed (see RemoveNode). The
// first error cancels the others.
func (f *Func[A, R]) OnAll(ctx context.Context, a A) ([]R, error) {
	c, err := find(ctx)
	if err != nil {
		return nil, err
	}
	if p, err := f.options.in(c); err == nil && p.placed {
		return nil, errorf("OnAll of %s: %w", f.fn.name, errPlaced)
	}
	all := c.ranks.Load()
	ranks := all.present()
	futures := make([]*Future[R], len(ranks))
	for i, rank := range ranks {
		futures[i] = submitTo[R](ctx, c, f.fn, unsafe.Pointer(&a), f.options, uint32(rank))
	}
	results, err := Gather(ctx, futures...)
	if err != nil || len(ranks) == len(all.node) {
		return results, err
	}
	spread := make([]R, len(all.node))
	for i, r := range results {
		spread[ranks[i]] = r
	}
	return spread, nil
}

var errPlaced = errors.New("its options say OnRanks, OnNode or Local")
