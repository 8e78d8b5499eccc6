package comm

import (
	"context"
	"unsafe"
)

// Future is the result of a task to come. Its methods are safe for concurrent use.
type Future[R any] struct {
	call
	value *R // of a future made by Then
}

// newFailed returns a future that has failed already.
func newFailed[R any](err error) *Future[R] {
	f := new(Future[R])
	f.fail(err)
	return f
}

// Get waits for the result. The error is a *TaskError if the function failed, a *LostError if a rank was lost, that of
// the context the task was submitted in if it ended, or that of ctx: then the task goes on, and Get may be called again.
// In a running task Get gives the task's slot to others while it waits. Every Get decodes the result anew.
func (f *Future[R]) Get(ctx context.Context) (R, error) { return f.get(ctx, false) }

func (f *Future[R]) get(ctx context.Context, last bool) (R, error) {
	var r R
	if err := f.join(ctx); err != nil {
		return r, err
	}
	if f.value != nil {
		return *f.value, f.outcome()
	}
	if err := f.outcome(); err != nil {
		return r, err
	}
	if err := f.decode(f.body, last, unsafe.Pointer(&r)); err != nil {
		var zero R
		return zero, err
	}
	return r, nil
}

// join waits for the end of a call.
func (k *call) join(ctx context.Context) error {
	if k.ended() {
		return nil
	}
	b := k.comm.bell()
	if !k.await(&b.waiter) {
		k.comm.keep(b)
		return nil
	}
	if k.comm != nil {
		k.comm.up.flush()
	}
	defer yield(ctx)()
	select {
	case <-b.rung:
		k.comm.keep(b)
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// A bell is a waiter that wakes one goroutine.
type bell struct {
	waiter
	rung chan struct{}
}

// bell returns a bell, keep takes it back once it has rung or been refused. c may be nil.
func (c *Comm) bell() *bell {
	if c != nil {
		if b, ok := c.bells.Get().(*bell); ok {
			return b
		}
	}
	b := &bell{rung: make(chan struct{}, 1)}
	b.fire = func(*call) { b.rung <- struct{}{} }
	return b
}

func (c *Comm) keep(b *bell) {
	if c != nil {
		c.bells.Put(b)
	}
}

// Done returns a channel that is closed when the result is there, for select.
func (f *Future[R]) Done() <-chan struct{} {
	done := make(chan struct{})
	if !f.await(&waiter{fire: func(*call) { close(done) }}) {
		close(done)
	}
	return done
}

// Cancel gives the task up: Get returns context.Canceled, a task not yet begun never is, and the context of a running
// function ends. Canceling a task that has ended does nothing.
func (f *Future[R]) Cancel() {
	if f.comm != nil && !f.ended() {
		f.abandon(errorf("%s: %w", f.fn.name, context.Canceled))
	}
}

// Then calls fn with the result when it is there, and returns a future of the same result that is done when fn has
// returned. The functions given to Then of one Comm never run at the same time.
func (f *Future[R]) Then(fn func(R, error)) *Future[R] {
	g := &Future[R]{value: new(R)}
	g.comm, g.fn, g.scope = f.comm, f.fn, f.scope
	over := func() {}
	if f.comm != nil {
		over = f.comm.expect(&f.call)
	}
	run := func() {
		r, err := f.Get(context.Background())
		defer over()
		defer func() {
			*g.value = r
			if err != nil {
				g.fail(err)
				return
			}
			g.rank = f.rank
			g.complete()
		}()
		fn(r, err)
	}
	then := &orphans
	if f.comm != nil {
		then = &f.comm.then
	}
	if !f.await(&waiter{fire: func(*call) { then.add(run) }}) {
		then.add(run)
	}
	return g
}

// orphans runs the callbacks of futures that have no Comm.
var orphans series
