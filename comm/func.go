package comm

import (
	"context"
	"fmt"
	"unsafe"
)

// Submit sends a task off: f is called with a in some rank that has a free slot. It returns at once while fewer than
// 1,000,000 tasks and 1 GiB of arguments wait (see Limits), beyond that it blocks until there is room or ctx ends. The
// argument is encoded before Submit returns. When ctx ends before the result is there, the task is canceled.
// A Func finds its Comm in ctx, else it is the process's own.
func (f *Func[A, R]) Submit(ctx context.Context, a A) *Future[R] {
	return f.submit(ctx, &a, nil, anyRank)
}

// submit takes the task's options as taskOptions.encode makes them.
func (f *Func[A, R]) submit(ctx context.Context, a *A, options []byte, dst uint32) *Future[R] {
	c, err := find(ctx)
	if err != nil {
		return newFailed[R](err)
	}
	return submitTo[R](ctx, c, f.fn, unsafe.Pointer(a), options, dst)
}

func submitTo[R any](ctx context.Context, c *Comm, fn *function, arg unsafe.Pointer, options []byte, dst uint32) *Future[R] {
	k := new(Future[R])
	k.comm, k.fn = c, fn
	payload, err := c.appendArgument(&k.call, append(k.small[:taskHeadLen], options...), arg)
	if err != nil {
		k.fail(fmt.Errorf("comm: submit %s: encode the argument: %w", fn.name, err))
		return k
	}
	c.submit(ctx, &k.call, payload, len(options), dst)
	return k
}

// Call is Submit and Get.
func (f *Func[A, R]) Call(ctx context.Context, a A) (R, error) {
	return f.submit(ctx, &a, nil, anyRank).Get(ctx)
}

// OnAll calls f with a once on every rank; result i is that of rank i. The first error cancels the others.
func (f *Func[A, R]) OnAll(ctx context.Context, a A) ([]R, error) {
	c, err := find(ctx)
	if err != nil {
		return nil, err
	}
	futures := make([]*Future[R], c.Size())
	for rank := range futures {
		futures[rank] = f.submit(ctx, &a, nil, uint32(rank))
	}
	return Gather(ctx, futures...)
}
