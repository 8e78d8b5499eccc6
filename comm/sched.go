package comm

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/pprun/pprun/comm/frame"
)

// The scheduler gives tasks to ranks: first to those with an idle slot, then ahead of need to those whose queue is
// short in time. How long a function runs is learned from its results; a rank holds two tasks for each slot or as many
// as take maxAhead, so that long tasks stay here, where any rank may still take them, and short ones do not wait for
// the network.
const (
	maxAhead      = time.Millisecond // of work that a slot has ahead of it
	maxAheadTasks = 1024             // that a rank has at once
	maxAheadBytes = 256 << 10        // of arguments that it has at once, if of two tasks for each slot or more
)

// submit takes a task from a rank. payload is lent or given.
func (h *hub) submit(m *member, f frame.Header, payload []byte) error {
	payload, ok, err := h.parts.add(f, payload)
	if !ok {
		return err
	}
	head, options, _, err := h.options.split(payload)
	if err != nil {
		return err
	}
	i := int(uint32(f.ID))
	switch {
	case int(head.fn) >= len(h.guess):
		return fmt.Errorf("a task of function %d of %d", head.fn, len(h.guess))
	case i > 2*len(m.submitted)+maxGap:
		return fmt.Errorf("a task with id %#x after %d", f.ID, len(m.submitted))
	}
	p, err := h.poolOf(f.Dst, options)
	if err != nil {
		return err
	}
	t := h.take()
	t.src, t.on, t.id, t.options, t.pool = int32(m.rank), waits, f.ID, options, p
	if len(payload) <= lentLen {
		t.payload = append(t.small[:0], payload...)
	} else {
		t.payload = payload
	}
	for i >= len(m.submitted) {
		m.submitted = append(m.submitted, nil)
	}
	if old := m.submitted[i]; old != nil { // it was canceled, but the word of that was overtaken
		h.drop(old)
	}
	m.submitted[i] = t
	p.tasks++
	if p.closed {
		h.despair(t)
		return nil
	}
	if on := p.pick(); on != nil {
		h.begin(t, on)
		return nil
	}
	if len(p.levels[full]) == 0 && p.hopeless() {
		h.despair(t)
		return nil
	}
	t.queued = h.now()
	p.queue.push(t)
	return nil
}

// feed gives a rank the tasks that it may run, the most urgent first, while it has room.
func (h *hub) feed(m *member) {
	for m.level != full {
		p := m.next()
		if p == nil {
			return
		}
		t := p.queue.pop()
		t.queued = max(0, h.now()-t.queued)
		h.begin(t, m)
	}
}

// begin sends a task to a rank.
func (h *hub) begin(t *task, m *member) {
	t.on = int32(m.rank)
	t.run = m.runs.add(t)
	t.order = h.order
	h.order++
	t.guess = uint32(min(h.guess[t.fn()]*time.Duration(t.calls()), math.MaxUint32)) // longer than any may be ahead
	m.ahead += time.Duration(t.guess)
	m.bytes += len(t.payload)
	if m.level == idle {
		h.urgent.Store(true)
	}
	m.port.send(frame.Header{Kind: kindRun, Src: uint32(t.src), Dst: uint32(m.rank), ID: t.run}, t.payload)
	h.touch(m)
	m.relevel()
	if m.level == idle { // with more slots: others first
		for _, s := range m.seats {
			s.swap(0)
		}
	}
}

// end takes a task off the rank that ran it.
func (h *hub) end(t *task) {
	m := h.members[t.on]
	m.runs.remove(t.run)
	delete(m.parts, t.run)
	m.ahead -= time.Duration(t.guess)
	m.bytes -= len(t.payload)
	if t.yielded {
		m.yielded--
	}
	t.on, t.yielded, t.partial = waits, false, false
	settle(&m.drained)
}

// refill gives more to a rank that has ended a task.
func (h *hub) refill(m *member) {
	m.relevel()
	if m.level == idle { // and awake: it comes next
		for _, s := range m.seats {
			s.swap(len(s.pool.levels[idle]) - 1)
		}
	}
	h.feed(m)
}

// result takes a result, or a part of one, from the rank that ran the task and passes it on, unless the task is to be
// tried again.
func (h *hub) result(m *member, f frame.Header, payload []byte) error {
	t, ok := m.runs.get(f.ID)
	switch {
	case !ok && m.runs.gave(f.ID):
		h.late++ // it has ended already
		return nil
	case !ok:
		return fmt.Errorf("a result of run %#x, which it does not have", f.ID)
	case !t.partial && (len(payload) < resultHeadLen || parseResultHead(payload).status >= statusLost):
		return fmt.Errorf("a result of run %#x that makes no sense", f.ID)
	}
	if f.Flags&flagLast != 0 {
		h.leaveAlone(m, true)
	}
	more := f.Flags&frame.More != 0
	if more || t.partial {
		if err := m.part(f.ID, len(payload)); err != nil {
			return err
		}
	}
	if !t.partial {
		head := parseResultHead(payload)
		g := &h.guess[t.fn()]
		*g += (min(t.ranOnce(payload), time.Hour) - *g) / 4
		if !more && head.ran < stallTime {
			m.stalled = false
		}
		if !more && !t.dropped && t.retries(head.status) {
			t.failed++
			h.tallies[t.fn()].retries++
			h.end(t)
			h.again(t)
			t.pool.queue.push(t)
			h.refill(m)
			h.place(t.pool)
			return nil
		}
		putQueued(payload, t.queued) // in place: whoever lent it does not read it again
	}
	if !t.dropped {
		to := h.members[t.src]
		to.port.send(frame.Header{Kind: kindResult, Flags: f.Flags, Src: uint32(m.rank), Dst: uint32(to.rank), ID: t.id}, payload)
		h.touch(to)
	}
	if t.partial = more; more {
		return nil
	}
	h.end(t)
	if !t.dropped {
		h.unlist(t)
	}
	h.release(t)
	h.refill(m)
	return nil
}

// offer passes on the word that a result is there to be fetched.
func (h *hub) offer(m *member, f frame.Header, payload []byte) error {
	t, ok := m.runs.get(f.ID)
	switch {
	case !ok && m.runs.gave(f.ID):
		h.late++
		return nil
	case !ok:
		return fmt.Errorf("an offer of run %#x, which it does not have", f.ID)
	}
	if ref, err := parseBlobRef(payload); err != nil || ref.owner != m.rank {
		return fmt.Errorf("an offer of a result that it does not hold")
	}
	to := h.members[t.src]
	f.Dst, f.ID = uint32(to.rank), t.id
	if t.dropped { // the word of it and the offer have crossed
		to, f = m, frame.Header{Kind: kindCancel, Src: f.Dst, Dst: uint32(m.rank), ID: t.run}
		payload = nil
	}
	to.port.send(f, payload)
	h.touch(to)
	h.urgent.Store(true)
	return nil
}

// retries says whether a task runs again after it ended with a status.
func (t *task) retries(s status) bool {
	return (s == statusError || s == statusPanic) && int(t.failed) < t.options.Retries
}

// again makes a task that has ended, or may have, ready for another run.
func (h *hub) again(t *task) {
	if len(t.payload) > lentLen {
		t.payload = slices.Clone(t.payload) // it was given away: a link may still be reading it
	}
	if t.payload[attemptAt] < math.MaxUint8 {
		t.payload[attemptAt]++
	}
	t.queued = h.now()
}

// place gives the tasks of a pool to ranks while there are both.
func (h *hub) place(p *pool) {
	for !p.queue.empty() {
		m := p.pick()
		if m == nil {
			return
		}
		h.feed(m)
	}
}

// cancel drops a task that nobody waits for any more, and passes the word on if it has begun.
func (h *hub) cancel(m *member, id uint64) {
	h.parts.drop(kindSubmit, uint32(m.rank), anyRank, id)
	i := int(uint32(id))
	if i < len(m.submitted) && m.submitted[i] != nil && m.submitted[i].id == id {
		h.drop(m.submitted[i])
	}
}

func (h *hub) drop(t *task) {
	h.unlist(t)
	if t.on == waits {
		t.pool.queue.remove(t)
		h.release(t)
		return
	}
	t.dropped = true
	m := h.members[t.on]
	if m.lost != nil { // with the rank that submitted it
		return
	}
	m.port.send(frame.Header{Kind: kindCancel, Src: uint32(t.src), Dst: uint32(m.rank), ID: t.run}, nil)
	h.touch(m)
	h.urgent.Store(true)
}

// yields notes that a run holds no slot, or holds one again.
func (h *hub) yields(m *member, id uint64, yielded bool) error {
	t, ok := m.runs.get(id)
	if !ok && m.runs.gave(id) {
		return nil
	}
	if !ok || t.yielded == yielded {
		return fmt.Errorf("a yield or resume of run %#x", id)
	}
	t.yielded = yielded
	if yielded {
		m.yielded++
	} else {
		m.yielded--
	}
	m.relevel()
	h.feed(m)
	return nil
}

// now is the time, read once for all the frames that are handled together, if one needs it.
func (h *hub) now() time.Duration {
	if h.clock == 0 {
		h.clock = uptime()
	}
	return h.clock
}
