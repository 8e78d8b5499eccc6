package comm

import (
	"context"
	"iter"
	"time"
)

// Done is an element of Unordered that is done.
type Done[A, R any] struct {
	Index   int // among the elements, from 0
	Arg     A
	Result  R
	Err     error         // as Future.Get has it
	Rank    int           // that ran it; -1 if none did
	Node    string        // the host of that rank
	Attempt int           // how often it was begun before
	Queued  time.Duration // time it waited for a rank; for a chunk, that of the chunk
	Ran     time.Duration // time it ran and did not wait for other tasks
}

// Unordered calls f with every element of in and yields each when it is done, with what became of it. It reads in only so
// far ahead as the ranks and the loop keep up. Leaving the loop cancels what is under way. When ctx ends, what is left
// fails with its error.
func (f *Func[A, R]) Unordered(ctx context.Context, in iter.Seq[A], opts ...Option) iter.Seq[Done[A, R]] {
	return func(yield func(Done[A, R]) bool) {
		s := newStream(ctx, f, opts, false)
		s.run(in, func(d *Done[A, R]) bool { return yield(*d) })
	}
}
