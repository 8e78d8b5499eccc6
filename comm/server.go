package comm

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pprun/pprun/comm/frame"
)

// A server runs the tasks that the hub gives a rank: as many at once as the rank has slots, each runner one after another.
type server struct {
	comm  *Comm
	slots int // at least 1: a rank without slots still runs what is sent to it by rank

	options  optionCache
	flushing atomic.Bool // flushSoon will flush

	mu      sync.Mutex
	work    sync.Cond // there may be work for a runner
	slot    sync.Cond // there may be a slot for a task that goes on
	queue   []*running
	head    int        // queue[:head] has been taken
	runs    []*running // by the index in the run's id, taken or not
	begun   int        // tasks that a runner is busy with
	active  int        // those of them that hold a slot
	back    int        // tasks that wait to go on
	runners int
	idle    int // runners that wait for work
	closed  bool

	taken int         // tasks that runners have taken so far
	seen  int         // of them, when watch set the timer
	stall *time.Timer // set while there may be a queue
}

func (s *server) init(c *Comm) {
	s.comm, s.slots = c, max(1, c.slots[c.rank])
	s.work.L, s.slot.L = &s.mu, &s.mu
}

// resize changes how many tasks run at once; those that run go on.
func (s *server) resize(slots int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slots = max(1, slots)
	s.slot.Broadcast()
	s.wake()
}

// enqueue takes a task from the hub. payload is lent or given.
func (s *server) enqueue(h frame.Header, payload []byte) error {
	head, options, args, err := s.options.split(payload)
	if err != nil {
		return err
	}
	if int(head.fn) >= len(s.comm.fns) {
		return fmt.Errorf("a run of function %d of %d", head.fn, len(s.comm.fns))
	}
	if len(payload) <= lentLen {
		args = slices.Clone(args)
	}
	t := &running{comm: s.comm, id: h.ID, src: h.Src, fn: head.fn, flags: head.flags, options: options, args: args}
	t.life.task, t.life.attempt = t, head.attempt
	i := int(uint32(h.ID))
	s.mu.Lock()
	defer s.mu.Unlock()
	if i > 2*len(s.runs)+maxGap {
		return fmt.Errorf("a run %#x after %d", h.ID, len(s.runs))
	}
	for i >= len(s.runs) {
		s.runs = append(s.runs, nil)
	}
	s.runs[i] = t
	if len(s.queue) == cap(s.queue) && s.head > 0 { // room at the front
		n := copy(s.queue, s.queue[s.head:])
		clear(s.queue[n:])
		s.queue, s.head = s.queue[:n], 0
	}
	s.queue = append(s.queue, t)
	s.wake()
	s.watch()
	return nil
}

// wake gets a runner going, if one is needed and may run. s.mu is held.
func (s *server) wake() {
	switch {
	case s.head == len(s.queue) || s.active >= s.slots || s.back > 0:
	case s.idle > 0:
		s.work.Signal()
	case s.runners == s.begun && !s.closed:
		s.runners++
		go s.runner()
	}
}

// flushAfter is how long results may wait for more of them before they are sent.
const flushAfter = 50 * time.Microsecond

// flushSoon has results flushed that wait for more of them, should the next task take long: the runner itself would not
// come to it before that has ended.
func (s *server) flushSoon() {
	if !s.flushing.Swap(true) {
		time.AfterFunc(20*flushAfter, func() {
			s.flushing.Store(false)
			s.comm.up.flush()
		})
	}
}

// runner runs tasks until the server closes.
func (s *server) runner() {
	var t *running
	defer func() {
		s.mu.Lock()
		if t != nil { // the function ended this goroutine
			s.leave(t)
		}
		s.runners--
		s.wake()
		s.work.Broadcast()
		s.mu.Unlock()
		s.comm.up.flush()
	}()
	var out []byte
	now := uptime()
	flushed := now
	for {
		if t = s.next(false); t == nil {
			s.comm.up.flush()
			if t = s.next(true); t == nil {
				return
			}
			now = uptime()
			flushed = now
		}
		out, now = t.run(out, now)
		s.mu.Lock()
		s.leave(t)
		s.mu.Unlock()
		t = nil
		if now-flushed > flushAfter {
			s.comm.up.flush()
			flushed = now
		} else {
			s.flushSoon()
		}
	}
}

// next takes a task. It returns nil when there is none, with wait when there will be none for this runner.
func (s *server) next(wait bool) *running {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.head == len(s.queue) || s.active >= s.slots || s.back > 0 {
		if !wait || s.closed || s.idle >= s.slots {
			return nil
		}
		s.idle++
		s.work.Wait()
		s.idle--
	}
	t := s.queue[s.head]
	s.queue[s.head] = nil
	s.head++
	if s.head == len(s.queue) {
		s.queue, s.head = s.queue[:0], 0
	}
	s.taken++
	s.begun++
	s.active++
	s.wake()
	return t
}

// leave gives a task's slot back. s.mu is held.
func (s *server) leave(t *running) {
	if s.runs[uint32(t.id)] == t {
		s.runs[uint32(t.id)] = nil
	}
	s.begun--
	s.active--
	if s.back > 0 {
		s.slot.Signal()
	}
}

// yield gives a slot to other tasks, resume waits for one.
func (s *server) yield() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active--
	if s.back > 0 {
		s.slot.Signal()
		return
	}
	s.wake()
}

func (s *server) resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.back++
	for s.active >= s.slots {
		s.slot.Wait()
	}
	s.back--
	s.active++
	s.wake()
}

// regain takes a slot back, free or not, for a task that ends at once.
func (s *server) regain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active++
}

// cancel ends the context of a run. One not yet begun runs with a context that has ended.
func (s *server) cancel(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := int(uint32(id)); i < len(s.runs) && s.runs[i] != nil && s.runs[i].id == id {
		s.runs[i].life.end(canceled)
	}
}

// cancelAll drops what has not begun and ends the contexts of the rest.
func (s *server) cancelAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue, s.head = nil, 0
	for _, t := range s.runs {
		if t != nil {
			t.life.end(canceled)
		}
	}
}

// close waits for the running functions and ends the runners. cancelAll has been called, and nothing comes any more.
func (s *server) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.stall != nil {
		s.stall.Stop()
	}
	s.work.Broadcast()
	for s.runners > 0 {
		s.work.Wait()
	}
}
