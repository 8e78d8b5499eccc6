package comm

import (
	"context"
	"iter"
)

// Map calls f with every element of in and yields the results in the order of in, each with its error; it is the loop
// that decides what an error means. It reads in only so far ahead as the ranks and the loop keep up. Leaving the loop
// cancels what is under way. When ctx ends, what is left fails with its error. Unordered tells each result's index and
// argument, too.
func (f *Func[A, R]) Map(ctx context.Context, in iter.Seq[A], opts ...Option) iter.Seq2[R, error] {
	return func(yield func(R, error) bool) {
		s := newStream(ctx, f, opts, true)
		s.run(in, func(d *Done[A, R]) bool { return yield(d.Result, d.Err) })
	}
}
