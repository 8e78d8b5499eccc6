package comm

import (
	"context"
	"iter"
	"sync"
	"time"
	"unsafe"
)

const (
	maxWindow         = 4096     // tasks that a stream has under way at most
	maxWindowBytes    = 64 << 20 // and bytes of their arguments
	maxWindowElements = 1 << 16  // above which a stream has two tasks for each slot at most
)

// A stream is Map or Unordered at work: it makes tasks of the elements of a sequence and yields their results.
type stream[A, R any] struct {
	f       *Func[A, R]
	comm    *Comm
	ctx     context.Context // of the tasks; ends with the stream
	cancel  context.CancelFunc
	waits   context.Context // does not end, since the tasks do
	plan    *plan
	err     error // why nothing can be submitted
	ordered bool
	arrived *arrivals[*unit[A]]
	hears   *waiter // lets units arrive; nil if only the first matters
	flags   byte    // of the tasks
	slots   int
	limit   int           // of units
	mean    time.Duration // that an element runs, 0 if not known
	size    int           // elements for a chunk
	index   int           // of the next element
	first   *unit[A]      // if ordered: to be yielded next; each knows the next
	last    *unit[A]      // if ordered and there is a first
	scratch []byte
	done    Done[A, R]
	timer   *time.Timer // sends the open chunk; nil until there is one

	units    int // not yielded yet, the open chunk among them
	elements int // in units
	bytes    int // in units

	mu   sync.Mutex // guards open and what is in it
	open *unit[A]   // a chunk that waits for more elements
}

func newStream[A, R any](ctx context.Context, f *Func[A, R], opts []Option, ordered bool) *stream[A, R] {
	s := &stream[A, R]{f: f, ordered: ordered, arrived: newArrivals[*unit[A]](), waits: context.WithoutCancel(ctx)}
	s.ctx, s.cancel = context.WithCancel(ctx)
	if s.comm, s.err = find(ctx); s.err != nil {
		return s
	}
	if s.plan, s.err = f.options.with(opts).in(s.comm); s.err != nil {
		s.err = errorf("submit %s: %w", f.fn.name, s.err)
		return s
	}
	if !ordered || s.plan.chunk != 0 {
		s.hears = &waiter{fire: func(k *call) { s.arrived.add((*unit[A])(unsafe.Pointer(k))) }}
	}
	s.flags = nested(ctx)
	s.slots = max(1, s.comm.Slots())
	s.limit = 4 * s.slots
	s.size = 1
	s.fit()
	return s
}

// run reads in and yields until all is done or yield has had enough. What yield gets is its own until it returns.
func (s *stream[A, R]) run(in iter.Seq[A], yield func(*Done[A, R]) bool) {
	defer s.close()
	for a := range in {
		if s.err != nil {
			if !yield(s.failed(a)) {
				return
			}
			continue
		}
		s.push(a)
		if !s.deliver(yield, s.full) {
			return
		}
		if s.ctx.Err() != nil {
			break
		}
	}
	s.deliver(yield, func() bool { return s.units > 0 })
}

// failed is what becomes of an element that cannot be submitted.
func (s *stream[A, R]) failed(a A) *Done[A, R] {
	s.index++
	return &Done[A, R]{Index: s.index - 1, Arg: a, Err: s.err, Rank: -1}
}

// full says whether no more is to be read in.
func (s *stream[A, R]) full() bool {
	if s.plan.window > 0 {
		return s.elements >= s.plan.window
	}
	return s.units >= s.limit || s.units > 1 && s.bytes >= maxWindowBytes ||
		s.units >= 2*s.slots && s.elements >= maxWindowElements
}

// deliver yields what there is, and while waits says so what is to come. It returns false when yield has had enough.
func (s *stream[A, R]) deliver(yield func(*Done[A, R]) bool, waits func() bool) bool {
	for {
		u := s.poll()
		if u == nil {
			if !waits() {
				return true
			}
			u = s.wait()
		}
		if s.hears != nil {
			u.check()
			s.measure(u)
			s.resume(u)
		}
		if !s.ordered {
			if !s.emit(u, yield) {
				return false
			}
			continue
		}
		for u.arrived = true; s.first != nil && s.first.arrived; {
			u := s.first
			if s.first = u.next; !s.emit(u, yield) {
				return false
			}
		}
	}
}

// poll returns a unit that has ended, nil if there is none. Without chunks and in order only the first matters.
func (s *stream[A, R]) poll() *unit[A] {
	if s.hears == nil {
		if u := s.first; u != nil && u.ended() {
			return u
		}
		return nil
	}
	u, _ := s.arrived.poll()
	return u
}

// wait waits for what poll returns. The window widens.
func (s *stream[A, R]) wait() *unit[A] {
	s.limit = min(2*s.limit, maxWindow)
	if s.hears == nil {
		_ = s.first.join(s.waits) // which does not end
		return s.first
	}
	s.flush()
	s.comm.up.flush()
	u, _ := s.arrived.take(s.waits)
	return u
}

// close cancels what is under way.
func (s *stream[A, R]) close() {
	if s.timer != nil {
		s.timer.Stop()
		s.mu.Lock()
		s.open = nil
		s.mu.Unlock()
	}
	if s.units > 0 {
		s.comm.cancelIn(s.ctx, s.plan.group)
	}
	s.cancel()
}

// emit yields the elements of a unit that has ended.
func (s *stream[A, R]) emit(u *unit[A], yield func(*Done[A, R]) bool) bool {
	s.units--
	s.elements -= u.count()
	s.bytes -= int(u.bytes)
	d := &s.done
	head := parseResultHead(u.head[:])
	if !s.ordered {
		d.Rank, d.Node, d.Queued = int(u.rank), "", head.queued
		if u.rank >= 0 {
			d.Node = s.comm.nodeName(int(u.rank))
		}
	}
	body := u.body
	if u.chunk() && u.status() == statusOK {
		body = body[chunkRanLen:]
	}
	for i := range u.count() {
		if !s.ordered {
			d.Index, d.Arg = u.kept.index+i, u.kept.args[i]
		}
		h, result := head, body
		if u.chunk() && u.status() == statusOK {
			h, result, body = cutChunkResult(body)
		}
		d.Attempt, d.Ran = int(h.attempt), h.ran
		d.Result, d.Err = s.result(u, h, result)
		if !yield(d) {
			return false
		}
	}
	return true
}

// result decodes what became of an element.
func (s *stream[A, R]) result(u *unit[A], h resultHead, body []byte) (r R, err error) {
	switch {
	case h.status == statusOK:
		if err = u.decode(body, !u.chunk(), unsafe.Pointer(&r)); err != nil {
			r = *new(R)
		}
		return r, err
	case u.chunk() && u.status() == statusOK:
		return r, u.taskError(h, body)
	}
	return r, u.outcome()
}
