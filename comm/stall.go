package comm

import (
	"fmt"
	"time"

	"github.com/pprun/pprun/comm/frame"
)

// A rank has tasks ahead of need. Where one runs for long, those behind it would wait though other ranks are idle, and
// for ever where it waits for what they do: after stallTime the rank gives them back, and gets none ahead until it has
// ended a task in less.

// stallTime is long beside the time that a task takes to come, so that giving tasks back costs nothing that matters.
const stallTime = 100 * time.Millisecond

// watch sees to it that tasks do not wait here for long. s.mu is held.
func (s *server) watch() {
	if s.stall != nil || s.closed || s.head == len(s.queue) {
		return
	}
	s.seen = s.taken
	s.stall = time.AfterFunc(stallTime, s.check)
}

// check gives the tasks that wait back if none was taken since watch.
func (s *server) check() {
	s.mu.Lock()
	s.stall = nil
	if s.taken != s.seen {
		s.watch()
		s.mu.Unlock()
		return
	}
	waiting := s.queue[s.head:]
	s.queue, s.head = nil, 0
	for _, t := range waiting {
		s.runs[uint32(t.id)] = nil
	}
	s.mu.Unlock()
	up := s.comm.up
	for i := range waiting { // the last first: each goes before those given back before it
		up.send(frame.Header{Kind: kindReturn, Src: uint32(s.comm.rank), ID: waiting[len(waiting)-1-i].id}, nil)
	}
	up.flush()
}

// giveBack takes a task from a rank that has not begun it.
func (h *hub) giveBack(m *member, id uint64) error {
	t, ok := m.runs.get(id)
	switch {
	case !ok && m.runs.gave(id):
		return nil
	case !ok || t.partial || t.yielded:
		return fmt.Errorf("it gives back run %#x, which it does not have or has begun", id)
	}
	h.end(t)
	m.stalled = true
	m.relevel()
	if t.dropped {
		h.release(t)
		return nil
	}
	t.queued = h.now() - t.queued // it goes on waiting
	t.pool.queue.pushFront(t)
	h.place(t.pool)
	return nil
}
