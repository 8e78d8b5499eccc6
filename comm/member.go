package comm

import "time"

// A task as the hub sees it.
type task struct {
	next    *task   // in a queue, or of those to be used again
	src     *member // that submitted it
	id      uint64  // among the tasks of src
	on      *member // that runs it, or must
	run     uint64  // id of the run, among those of on
	payload []byte  // head, options and argument
	begun   bool    // on a rank
	dropped bool    // canceled: nobody waits for its result
	options *taskOptions
	queued  time.Duration // how long it waited for a rank
	yielded bool          // it waits for others and holds no slot
	partial bool          // a part of its result has come
	guess   time.Duration
	small   [32]byte
}

func (t *task) fn() uint32 { return parseTaskHead(t.payload).fn }

// A member is a rank as the hub sees it. The hub's mu guards it, but for port and what never changes.
type member struct {
	rank  int
	slots int
	port  port
	link  *link // nil for rank 0

	submitted []*task // by the index in the task's id
	runs      table[*task]
	yielded   int           // of runs
	ahead     time.Duration // guessed time of runs
	bytes     int           // of runs
	own       queue         // tasks for this rank only
	level     level
	at        int // index in hub.levels[level]
	bye       bool
}

// level says how much a rank has to do.
type level int

const (
	idle  level = iota // a slot is free
	ready              // it may have tasks ahead
	full
)

func (m *member) measure() level {
	holds := m.runs.len() - m.yielded
	switch {
	case holds < m.slots:
		return idle
	case m.slots == 0:
		return full
	case holds < 2*m.slots,
		holds < maxAheadTasks && m.bytes < maxAheadBytes && m.ahead < maxAhead*time.Duration(m.slots):
		return ready
	}
	return full
}

// A queue is a list of tasks, first in first out.
type queue struct{ first, last *task }

func (q *queue) push(t *task) {
	if q.first == nil {
		q.first = t
	} else {
		q.last.next = t
	}
	q.last = t
}

func (q *queue) pop() *task {
	t := q.first
	if t != nil {
		q.first = t.next
		t.next = nil
	}
	return t
}

// unlist forgets a task's id.
func (h *hub) unlist(t *task) {
	i := int(uint32(t.id))
	if t.src.submitted[i] == t {
		t.src.submitted[i] = nil
	}
}

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
	if h.spares < maxSpares {
		*t = task{next: h.spare}
		h.spare = t
		h.spares++
	}
}
