package comm

import (
	"context"
	"runtime/debug"
	"sync"
)

// A memo holds values of a rank that are made when they are first asked for, by one goroutine while all who ask wait for
// it. A value that could not be made is not kept: who asks next tries again.
type memo struct {
	comm *Comm
	work sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	values map[any]*making
	err    error // why no more can be made
}

// A making is a value that is being made, or is there.
type making struct {
	cancel  context.CancelCauseFunc // of the context it is made in, which goes on until the Comm ends
	waiting int                     // goroutines; when none is left the making is given up. The memo's mu guards it
	given   bool                    // up
	done    chan struct{}           // closed when value or err is there
	value   any
	err     error
}

func (m *memo) init(c *Comm) { m.comm, m.values = c, make(map[any]*making) }

// get returns the value of a key, made by f if it is not there. f gets the values of the ctx of who asks first.
func (m *memo) get(ctx context.Context, key any, f func(ctx context.Context) (any, error)) (any, error) {
	for {
		x, err := m.enter(ctx, key, f)
		if err != nil {
			return nil, err
		}
		select {
		case <-x.done:
		default:
			m.comm.up.flush()
			select {
			case <-x.done:
			case <-ctx.Done():
				m.leave(x)
				return nil, context.Cause(ctx)
			}
		}
		if !m.leave(x) || x.err == nil {
			return x.value, x.err
		}
	}
}

// enter returns the making of a key, for one more to wait for.
func (m *memo) enter(ctx context.Context, key any, f func(ctx context.Context) (any, error)) (*making, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	x := m.values[key]
	if x == nil {
		if m.err != nil {
			return nil, m.err
		}
		x = &making{done: make(chan struct{})}
		m.values[key] = x
		ctx, x.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
		m.work.Go(func() { m.run(ctx, key, x, f) })
	}
	x.waiting++
	return x, nil
}

// leave ends the waiting of one. What nobody waits for is given up; given says that it was before.
func (m *memo) leave(x *making) (given bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	given = x.given
	if x.waiting--; x.waiting > 0 || given {
		return given
	}
	select {
	case <-x.done:
	default:
		x.given = true
		x.cancel(context.Canceled)
	}
	return given
}

// run makes a value.
func (m *memo) run(ctx context.Context, key any, x *making, f func(ctx context.Context) (any, error)) {
	defer close(x.done)
	x.value, x.err = m.make(ctx, f)
	if x.err == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values[key] == x {
		delete(m.values, key)
	}
}

// make calls f and turns its panic into an error.
func (m *memo) make(ctx context.Context, f func(ctx context.Context) (any, error)) (value any, err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		c := m.comm
		failed := &TaskError{Func: "Once", Rank: c.rank, Node: c.nodeName(c.rank), Err: errGoexit}
		if p := recover(); p != nil {
			failed.Panic, failed.Stack, failed.Err = true, debug.Stack(), panicError(p)
		}
		value, err = nil, failed
	}()
	value, err = f(ctx)
	returned = true
	return value, err
}

// drop forgets the values of all keys that match.
func (m *memo) drop(match func(key any) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key := range m.values {
		if match(key) {
			delete(m.values, key)
		}
	}
}

// fail gives up what is being made and forgets the rest.
func (m *memo) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return
	}
	m.err = err
	for _, x := range m.values {
		x.cancel(err)
	}
	clear(m.values)
}
