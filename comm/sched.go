package comm

import (
	"fmt"
	"time"

	"github.com/pprun/pprun/comm/frame"
)

// The scheduler gives tasks to ranks: first to those with an idle slot, then ahead of need to those whose queue is
// short in time. How long a function runs is learned from its results; a rank holds two tasks for each slot or as many
// as take maxAhead, so that long tasks stay here, where any rank may still take them, and short ones do not wait for
// the network. What nested tasks submit goes first: others may wait for it.
const (
	maxAhead      = time.Millisecond // of work that a slot has ahead of it
	maxAheadTasks = 1024             // that a rank has at once
	maxAheadBytes = 256 << 10        // of arguments that it has at once, if of two tasks for each slot or more
)

// relevel puts a rank where it belongs after its load changed.
func (h *hub) relevel(m *member) {
	l := m.measure()
	if l == m.level {
		return
	}
	old := h.levels[m.level]
	last := old[len(old)-1]
	old[m.at], last.at = last, m.at
	h.levels[m.level] = old[:len(old)-1]
	m.level, m.at = l, len(h.levels[l])
	h.levels[l] = append(h.levels[l], m)
}

// swap moves a rank to another place among those of its level.
func (h *hub) swap(m *member, to int) {
	ms := h.levels[m.level]
	other := ms[to]
	ms[m.at], ms[to] = other, m
	other.at, m.at = m.at, to
}

// pick chooses a rank for the next task: nil if all are full. Of idle ones the hub's own comes first, being next door,
// then the last to become idle, which is still awake; those that are ready take turns.
func (h *hub) pick() *member {
	if h.members[0].level == idle {
		return h.members[0]
	}
	if ms := h.levels[idle]; len(ms) > 0 {
		return ms[len(ms)-1]
	}
	if ms := h.levels[ready]; len(ms) > 0 {
		h.turn++
		return ms[h.turn%len(ms)]
	}
	return nil
}

// dispatch gives tasks to ranks while there are both.
func (h *hub) dispatch() {
	for h.nested.first != nil || h.queue.first != nil {
		m := h.pick()
		if m == nil {
			return
		}
		t := h.nested.pop()
		if t == nil {
			t = h.queue.pop()
		}
		if t.dropped {
			h.release(t)
			continue
		}
		h.begin(t, m)
	}
}

// begin sends a task to a rank.
func (h *hub) begin(t *task, m *member) {
	t.on, t.begun = m, true
	t.run = m.runs.add(t)
	t.guess = h.guess[t.fn()]
	m.ahead += t.guess
	m.bytes += len(t.payload)
	if m.level == idle {
		h.urgent.Store(true)
	}
	m.port.send(frame.Header{Kind: kindRun, Src: uint32(t.src.rank), Dst: uint32(m.rank), ID: t.run}, t.payload)
	h.touch(m)
	h.relevel(m)
	if m.level == idle { // with more slots: others first
		h.swap(m, 0)
	}
}

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
	case i > 2*len(m.submitted)+maxGap:
		return fmt.Errorf("a task with id %#x after %d", f.ID, len(m.submitted))
	case int(head.fn) >= len(h.guess):
		return fmt.Errorf("a task of function %d of %d", head.fn, len(h.guess))
	case f.Dst != anyRank && int(f.Dst) >= len(h.members):
		return fmt.Errorf("a task for rank %d of %d", f.Dst, len(h.members))
	}
	t := h.take()
	t.src, t.id, t.options = m, f.ID, options
	if len(payload) <= lentLen {
		t.payload = append(t.small[:0], payload...)
	} else {
		t.payload = payload
	}
	for i >= len(m.submitted) {
		m.submitted = append(m.submitted, nil)
	}
	m.submitted[i] = t
	switch {
	case f.Dst != anyRank:
		on := h.members[f.Dst]
		on.own.push(t)
		h.beginOwn(on)
		return nil
	case head.flags&flagNested != 0:
		h.nested.push(t)
	default:
		h.queue.push(t)
	}
	h.dispatch()
	return nil
}

// beginOwn gives a rank the tasks that are for it only, while it has room.
func (h *hub) beginOwn(m *member) {
	for m.own.first != nil && (m.level != full || m.runs.len()-m.yielded < 2) {
		t := m.own.pop()
		if t.dropped {
			h.release(t)
			continue
		}
		h.begin(t, m)
	}
}

// result takes a result, or a part of one, from the rank that ran the task and passes it on.
func (h *hub) result(m *member, f frame.Header, payload []byte) error {
	t, ok := m.runs.get(f.ID)
	if !ok {
		return fmt.Errorf("a result of run %#x, which it does not have", f.ID)
	}
	if len(payload) >= resultHeadLen && !t.partial {
		g := &h.guess[t.fn()]
		*g += (min(parseResultHead(payload).ran, time.Hour) - *g) / 4
		putQueued(payload, t.queued) // in place: whoever lent it does not read it again
	}
	if !t.dropped {
		to := t.src
		to.port.send(frame.Header{Kind: kindResult, Flags: f.Flags, Src: uint32(m.rank), Dst: uint32(to.rank), ID: t.id}, payload)
		h.touch(to)
	}
	if t.partial = f.Flags&frame.More != 0; t.partial {
		return nil
	}
	m.runs.remove(f.ID)
	m.ahead -= t.guess
	m.bytes -= len(t.payload)
	if t.yielded {
		m.yielded--
	}
	h.unlist(t)
	h.release(t)
	h.relevel(m)
	if m.level == idle { // and awake: it comes next
		h.swap(m, len(h.levels[idle])-1)
	}
	h.beginOwn(m)
	h.dispatch()
	return nil
}

// offer passes on the word that a result is there to be fetched.
func (h *hub) offer(m *member, f frame.Header, payload []byte) error {
	t, ok := m.runs.get(f.ID)
	if !ok {
		return fmt.Errorf("an offer of run %#x, which it does not have", f.ID)
	}
	to := t.src
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

// cancel drops a task that has not begun, and passes the word on for one that has.
func (h *hub) cancel(m *member, id uint64) {
	h.parts.drop(kindSubmit, uint32(m.rank), anyRank, id)
	i := int(uint32(id))
	if i >= len(m.submitted) || m.submitted[i] == nil || m.submitted[i].id != id {
		return
	}
	t := m.submitted[i]
	h.unlist(t)
	t.dropped = true
	if t.begun {
		t.on.port.send(frame.Header{Kind: kindCancel, Src: uint32(m.rank), Dst: uint32(t.on.rank), ID: t.run}, nil)
		h.touch(t.on)
		h.urgent.Store(true)
	} else {
		t.payload = append(t.small[:0], t.payload[:taskHeadLen]...) // its argument is not needed any more
	}
}

// yields notes that a run holds no slot, or holds one again.
func (h *hub) yields(m *member, id uint64, yielded bool) error {
	t, ok := m.runs.get(id)
	if !ok || t.yielded == yielded {
		return fmt.Errorf("a yield or resume of run %#x", id)
	}
	t.yielded = yielded
	if yielded {
		m.yielded++
	} else {
		m.yielded--
	}
	h.relevel(m)
	h.beginOwn(m)
	h.dispatch()
	return nil
}
