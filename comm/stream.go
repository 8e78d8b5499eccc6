package comm

import (
	"context"
	"iter"
	"math"
	"sync"
	"time"
	"unsafe"
)

const (
	maxWindow         = 4096     // tasks that a stream has under way at most
	maxWindowBytes    = 64 << 20 // and bytes of their arguments
	maxWindowElements = 1 << 16  // above which a stream has two tasks for each slot at most

	chunkTime   = 2 * time.Millisecond // that a chunk with Auto should take
	chunkBudget = 3 * chunkTime        // after which it comes back unfinished
	chunkWait   = 5 * time.Millisecond // that a chunk waits for more elements
	autoBytes   = 48 << 10             // of a chunk with Auto, so that its frame is copied with others

	maxChunk      = 1 << 20 // elements
	maxChunkBytes = 4 << 20 // of arguments, above which a chunk is sent as it is
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

// A unit is a task of a stream: a single element or a chunk of them.
type unit[A any] struct {
	call          // comes first: a waiter finds the unit by it
	bytes   int32 // of the arguments
	arrived bool
	next    *unit[A] // if ordered
	kept    *kept[A] // nil for a single element, if ordered
}

// What is kept of the elements of a unit.
type kept[A any] struct {
	index   int // of the first
	count   int
	args    []A    // to be yielded, if not ordered
	payload []byte // of a chunk; nil for a plain task
}

func (u *unit[A]) chunk() bool { return u.kept != nil && u.kept.payload != nil }

func (u *unit[A]) count() int {
	if u.kept == nil {
		return 1
	}
	return u.kept.count
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

// push takes an element in.
func (s *stream[A, R]) push(a A) {
	arg := s.f.fn.arg
	if s.size == 1 || arg.view != nil && len(arg.view(unsafe.Pointer(&a))) > repeatLen {
		s.flush()
		u := s.newUnit()
		payload, err := s.comm.appendArgument(&u.call, append(u.small[:taskHeadLen], s.plan.task...), unsafe.Pointer(&a))
		s.put(u, a, len(payload))
		s.submit(u, payload, err)
		return
	}
	var err error
	if s.scratch, err = arg.append(s.scratch[:0], unsafe.Pointer(&a)); err != nil {
		s.flush()
		u := s.newUnit()
		s.put(u, a, 0)
		s.submit(u, nil, err)
		return
	}
	if u := s.pack(a); u != nil {
		s.send(u)
	}
}

// pack puts an element, encoded in scratch, into the open chunk. It returns the chunk if it is to be sent.
func (s *stream[A, R]) pack(a A) *unit[A] {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.open
	if u == nil {
		u = s.newUnit()
		u.kept = &kept[A]{index: s.index, payload: s.chunkHead()}
		s.open = u
		if s.timer == nil {
			s.timer = time.AfterFunc(chunkWait, s.sendOpen)
		} else {
			s.timer.Reset(chunkWait)
		}
	}
	u.kept.payload = appendChunkArg(u.kept.payload, s.scratch)
	s.put(u, a, len(s.scratch))
	if n := len(u.kept.payload); u.kept.count < s.size && n < maxChunkBytes && (s.plan.chunk != Auto || n < autoBytes) {
		return nil
	}
	s.open = nil
	return u
}

func (s *stream[A, R]) unit() *unit[A] {
	u := new(unit[A])
	u.comm, u.fn = s.comm, s.f.fn
	u.flags = s.flags
	u.wait.Store(s.hears)
	return u
}

// newUnit makes a unit for elements that follow those of all others.
func (s *stream[A, R]) newUnit() *unit[A] {
	u := s.unit()
	if s.ordered {
		if s.first == nil {
			s.first = u
		} else {
			s.last.next = u
		}
		s.last = u
	}
	s.units++
	return u
}

// put counts an element in.
func (s *stream[A, R]) put(u *unit[A], a A, bytes int) {
	if !s.ordered {
		if u.kept == nil {
			u.kept = &kept[A]{index: s.index}
		}
		u.kept.args = append(u.kept.args, a)
	}
	if u.kept != nil {
		u.kept.count++
	}
	bytes = min(bytes, math.MaxInt32-int(u.bytes))
	u.bytes += int32(bytes)
	s.index++
	s.elements++
	s.bytes += bytes
}

// chunkHead returns room for the head of a chunk, after the options.
func (s *stream[A, R]) chunkHead() []byte {
	b := make([]byte, taskHeadLen, 1024)
	return append(append(b, s.plan.task...), make([]byte, chunkHeadLen)...)
}

// flush sends the open chunk, if there is one.
func (s *stream[A, R]) flush() {
	if s.timer != nil {
		s.sendOpen()
	}
}

func (s *stream[A, R]) sendOpen() {
	s.mu.Lock()
	u := s.open
	s.open = nil
	s.mu.Unlock()
	if u != nil {
		s.send(u)
	}
}

// send submits a chunk.
func (s *stream[A, R]) send(u *unit[A]) {
	budget := time.Duration(0)
	if s.plan.chunk == Auto {
		budget = chunkBudget
	}
	putChunkHead(u.kept.payload[taskHeadLen+len(s.plan.task):], u.kept.count, budget)
	s.submit(u, u.kept.payload, nil)
}

// submit sends a unit off, or lets it fail with err.
func (s *stream[A, R]) submit(u *unit[A], payload []byte, err error) {
	if err != nil {
		u.fail(errorf("submit %s: encode the argument: %w", s.f.fn.name, err))
		return
	}
	if u.chunk() {
		u.flags |= flagChunk
	}
	s.comm.submit(s.ctx, &u.call, s.plan, payload, anyRank)
}

// measure learns how long an element runs from a unit that has ended.
func (s *stream[A, R]) measure(u *unit[A]) {
	if s.plan.chunk != Auto || u.status() == statusFailed {
		return
	}
	ran := max(1, parseResultHead(u.head[:]).ran/time.Duration(u.ran()))
	if s.mean == 0 {
		s.mean = ran
	}
	s.mean = max(1, (s.mean+ran)/2)
	s.fit()
}

// fit sets the size of chunks.
func (s *stream[A, R]) fit() {
	if s.plan.chunk != Auto {
		s.size = max(1, s.plan.chunk)
		return
	}
	if s.mean > 0 {
		s.size = int(min(4*int64(s.size), int64(chunkTime/s.mean), maxChunk))
	}
	if s.plan.window > 0 { // all slots should have some
		s.size = min(s.size, s.plan.window/(2*s.slots))
	}
	s.size = max(1, s.size)
}

// check lets a chunk fail whose result is malformed.
func (u *unit[A]) check() {
	if u.chunk() && u.status() == statusOK {
		if err := checkChunkResult(u.body, u.count()); err != nil {
			err = errorf("result of %s from rank %d: %w", u.fn.name, u.rank, err)
			putResultHead(u.head[:], resultHead{status: statusFailed})
			u.err = &err
		}
	}
}

// ran returns how many elements of a unit were run, if all is well.
func (u *unit[A]) ran() int {
	if u.chunk() && u.status() == statusOK {
		return chunkRan(u.body)
	}
	return u.count()
}

// resume submits what a chunk brought back unfinished, in chunks of the size that is right now.
func (s *stream[A, R]) resume(u *unit[A]) {
	ran, end := u.ran(), u.count()
	if ran == end {
		return
	}
	args := u.kept.payload[taskHeadLen+len(s.plan.task)+chunkHeadLen:]
	for range ran {
		args = args[chunkArgEnd(args):]
	}
	u.kept.count = ran
	for last, at := u, ran; at < end; {
		n := min(s.size, end-at)
		v := s.unit()
		v.kept = &kept[A]{index: u.kept.index + at, count: n, payload: s.chunkHead()}
		if !s.ordered {
			v.kept.args = u.kept.args[at : at+n]
		}
		for range n {
			end := chunkArgEnd(args)
			v.kept.payload = append(v.kept.payload, args[:end]...)
			args = args[end:]
		}
		at += n
		s.units++
		if s.ordered {
			v.next, last.next = last.next, v
			if s.last == last {
				s.last = v
			}
			last = v
		}
		s.send(v)
	}
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
