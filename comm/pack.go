package comm

import (
	"math"
	"time"
	"unsafe"
)

const (
	chunkTime   = 2 * time.Millisecond // that a chunk with Auto should take
	chunkBudget = 3 * chunkTime        // after which it comes back unfinished
	chunkWait   = 5 * time.Millisecond // that a chunk waits for more elements
	autoBytes   = 48 << 10             // of a chunk with Auto, so that its frame is copied with others

	maxChunk      = 1 << 20 // elements
	maxChunkBytes = 4 << 20 // of arguments, above which a chunk is sent as it is
)

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
