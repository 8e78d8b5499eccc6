package comm

import (
	"time"

	"github.com/pprun/pprun/comm/place"
)

// A task as the hub sees it. The hub keeps its payload until the result is there, since it may have to run again.
// It takes 128 bytes: a million may wait.
type task struct {
	prev, next *task  // in a queue, or (next) of those to be used again
	pool       *pool  // whose ranks may run it
	payload    []byte // head, options and argument
	options    *taskOptions
	id         uint64        // among the tasks of src
	run        uint64        // id of the run, among those of on
	order      uint64        // of the run, among all runs
	queued     time.Duration // when it began to wait; once it runs, how long it waited
	src        int32         // rank that submitted it
	on         int32         // rank that runs it, waits where it waits
	guess      uint32        // nanoseconds that the run takes
	failed     uint32        // how often it ended in an error of its own and was tried again
	dropped    bool          // nobody waits for its result
	yielded    bool          // it waits for others and holds no slot
	partial    bool          // a part of its result has come
	blamed     bool          // ranks were lost while it may have run there (hub.blames)
	small      [20]byte
}

// waits is where a task runs that does not.
const waits = -1

func (t *task) fn() uint32 { return parseTaskHead(t.payload).fn }

// A member is a rank as the hub sees it. The hub's mu guards it, but for rank.
type member struct {
	rank        int
	role        place.Role
	incarnation uint32
	slots       int          // tasks it runs at once
	base        int          // the same, as it said itself
	port        port         // nil while it is lost
	link        *link        // nil for rank 0
	lost        *LostError   // why it is not there
	final       bool         // it will not come back
	death       *place.Death // of this incarnation, if it is known
	waiting     []func()     // for that

	submitted []*task // by the index in the task's id
	runs      table[*task]
	parts     map[uint64]int // bytes of the results of runs of which a part has come
	yielded   int            // of runs
	ahead     time.Duration  // guessed time of runs
	bytes     int            // of runs
	node      *pool          // of tasks for the ranks of its node
	seats     []*seat
	alone     *pool // of tasks for this rank only; nil if there were none yet
	stalled   bool  // it has given tasks back, and ended none since but long ones
	halted    bool  // its process is known to be stopped
	away      bool  // it is, or nothing has been heard of it for a while
	level     level
	bye       bool

	draining bool // it gets no more tasks but those that nobody else may run; with final, its node was removed

	// See await: the rank has come, or will not; it is draining and has less to do; it is lost.
	arrived, drained, left chan struct{}
}

// level says how much a rank has to do.
type level int

const (
	idle  level = iota // a slot is free
	ready              // it may have tasks ahead
	full
)

// measure returns a rank's level. One without slots runs the tasks that are for it one after another.
func (m *member) measure() level {
	slots := max(1, m.slots)
	holds := m.runs.len() - m.yielded
	switch {
	case m.away:
		return full
	case holds < slots:
		return idle
	case m.stalled:
		return full
	case holds < 2*slots,
		holds < maxAheadTasks && m.bytes < maxAheadBytes && m.ahead < maxAhead*time.Duration(slots):
		return ready
	}
	return full
}

// relevel puts a rank where it belongs after its load changed.
func (m *member) relevel() {
	l := m.measure()
	if l == m.level {
		return
	}
	for _, s := range m.seats {
		s.take(m.level)
		s.put(l)
	}
	m.level = l
}

// next returns the pool with the most urgent task for a rank, nil if none waits. Of pools that are alike the smaller
// comes first: fewer ranks can run what waits there.
func (m *member) next() *pool {
	var best *pool
	for _, s := range m.seats {
		p := s.pool
		switch {
		case p.queue.empty():
		case best == nil || p.queue.top() > best.queue.top(),
			p.queue.top() == best.queue.top() && len(p.ranks) < len(best.ranks):
			best = p
		}
	}
	return best
}

// unlist forgets a task's id.
func (h *hub) unlist(t *task) { h.members[t.src].submitted[uint32(t.id)] = nil }

// take and release reuse tasks: a hub that has run a million of them need not make another.
func (h *hub) take() *task {
	if t := h.spare; t != nil {
		h.spare, t.next = t.next, nil
		h.spares--
		return t
	}
	return new(task)
}

const maxSpares = 8192

func (h *hub) release(t *task) {
	t.pool.tasks--
	if t.pool.closed {
		for _, m := range t.pool.ranks {
			settle(&m.drained)
		}
	}
	if t.blamed {
		delete(h.blames, t)
	}
	if h.spares < maxSpares {
		*t = task{next: h.spare}
		h.spare = t
		h.spares++
	}
}
