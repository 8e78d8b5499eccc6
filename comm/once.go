package comm

import (
	"context"
	"errors"
)

// Once returns a function that calls init when it is first called on a rank, and returns what init returned from then
// on: what tasks need beside their arguments and is not worth sending, as a connection, or a model read from a file.
// Every Comm has a value of its own, ranks in one process too. Call Once to set a package-level variable:
//
//	var database = comm.Once(func(ctx context.Context) (*sql.DB, error) { return sql.Open("postgres", dsn) })
//
// Callers that come while init runs wait for it; one whose ctx ends waits no longer. The context that init gets has the
// values of the first caller's; it ends when nobody waits for init any more, and when the Comm closes. An error of init
// goes to all that wait and is not kept: the next call tries again. A panic of init is such an error, a *TaskError with
// the stack. The value is used by many tasks at a time, and nothing closes it.
func Once[T any](init func(ctx context.Context) (T, error)) func(ctx context.Context) (T, error) {
	key := new(onceKey)
	return func(ctx context.Context) (T, error) {
		var zero T
		c, err := find(ctx)
		if err != nil {
			return zero, err
		}
		if ctx.Value(key) != nil {
			return zero, errors.New("comm: Once: its init calls the function that waits for init")
		}
		v, err := c.memo.get(ctx, key, func(ctx context.Context) (any, error) {
			v, err := init(context.WithValue(ctx, key, true))
			return &v, err
		})
		if err != nil {
			return zero, err
		}
		return *v.(*T), nil
	}
}

// A onceKey names what Once made, in contexts and in the memo.
type onceKey struct{ _ byte } // pointers to nothing at all may be equal
