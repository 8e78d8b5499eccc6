package comm

import (
	"context"
	"iter"
)

const (
	maxWindow      = 4096     // tasks that Map has under way at most
	maxWindowBytes = 64 << 20 // and bytes of their arguments
)

// Map calls f with every element of in and yields the results in the order of in, each with its error; it is the loop
// that decides what an error means. It reads in only so far ahead as the ranks and the loop keep up. Leaving the loop
// cancels what is under way. When ctx ends, what is left fails with its error.
func (f *Func[A, R]) Map(ctx context.Context, in iter.Seq[A]) iter.Seq2[R, error] {
	return func(yield func(R, error) bool) {
		var w window[R]
		defer w.cancel()
		if c, err := find(ctx); err == nil {
			w.limit = 4 * max(1, c.Slots())
		}
		for a := range in {
			w.push(f.Submit(ctx, a))
			for w.full() || w.ready() {
				if !yield(w.pop(ctx)) {
					return
				}
			}
			if ctx.Err() != nil {
				break
			}
		}
		for w.count > 0 {
			if !yield(w.pop(ctx)) {
				return
			}
		}
	}
}

// A window holds futures in order. It widens while whoever pops must wait.
type window[R any] struct {
	ring        []*Future[R] // the first is ring[head]
	head, count int
	limit       int
	bytes       int
}

func (w *window[R]) full() bool {
	return w.count >= w.limit || w.count > 1 && w.bytes >= maxWindowBytes
}

func (w *window[R]) ready() bool { return w.count > 0 && w.ring[w.head].ended() }

func (w *window[R]) push(f *Future[R]) {
	if w.count == len(w.ring) {
		ring := make([]*Future[R], max(16, 2*len(w.ring)))
		n := copy(ring, w.ring[w.head:])
		copy(ring[n:], w.ring[:w.head])
		w.ring, w.head = ring, 0
	}
	w.ring[(w.head+w.count)%len(w.ring)] = f
	w.count++
	w.bytes += int(f.size)
}

// pop waits for the first.
func (w *window[R]) pop(ctx context.Context) (R, error) {
	f := w.ring[w.head]
	if !f.ended() {
		w.limit = min(2*w.limit, maxWindow)
	}
	r, err := f.Get(ctx)
	w.ring[w.head] = nil
	w.head = (w.head + 1) % len(w.ring)
	w.count--
	w.bytes -= int(f.size)
	return r, err
}

func (w *window[R]) cancel() {
	for i := range w.count {
		w.ring[(w.head+i)%len(w.ring)].Cancel()
	}
}
