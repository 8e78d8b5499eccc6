package comm

import (
	"context"
	"errors"
	"sync/atomic"
)

type contextKey int

const (
	commKey contextKey = iota
	taskKey
	attemptKey
)

// NewContext returns a context in which functions find c. Main, tasks and commtest make such contexts.
func NewContext(ctx context.Context, c *Comm) context.Context {
	return context.WithValue(ctx, commKey, c)
}

// FromContext returns the Comm that ctx carries, else the process's own: the one that Init made.
func FromContext(ctx context.Context) (*Comm, bool) {
	if c, ok := ctx.Value(commKey).(*Comm); ok {
		return c, true
	}
	c := own.Load()
	return c, c != nil
}

// InTask says whether ctx is that of a running task, or derived from it.
func InTask(ctx context.Context) bool { return taskOf(ctx) != nil }

func taskOf(ctx context.Context) *running {
	t, _ := ctx.Value(taskKey).(*running)
	return t
}

// own is the Comm that Init or Main made in this process.
var own atomic.Pointer[Comm]

func forget(c *Comm) { own.CompareAndSwap(c, nil) }

func find(ctx context.Context) (*Comm, error) {
	if c, ok := FromContext(ctx); ok {
		return c, nil
	}
	return nil, errors.New("comm: the context carries no Comm: call comm.Main or comm.Init first, or hand on the context you were given")
}
