package comm

import (
	"cmp"
	"slices"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/comm/place"
)

// A rank that only serves may be lost: the job goes on without it, and another incarnation of it may come later. What
// it had submitted is dropped; what it ran is run again, before all else of the same priority. Any other rank has a
// part in the program that nobody else knows, and the job fails with it.
//
// A rank is lost when the reader of its link has ended, and by nothing else: so nothing of an old incarnation can come
// after that, and a new one enters only then (door.readmit).

// defaultMaxLost is how many ranks a task may lose that says nothing of it.
const defaultMaxLost = 3

// cut notes that a link has ended. It says whether the job goes on.
func (h *hub) cut(l *link, reason string) bool {
	if h.over {
		return false
	}
	for _, r := range l.ranks {
		if m := h.members[r]; m.role != place.Serve {
			h.over = true
			lost := h.lostError(m, reason)
			h.onceKnown(m, func() {
				lost.learn(m.death)
				h.broadcastLost(lost)
			})
			return false
		}
	}
	h.links = slices.DeleteFunc(h.links, func(other *link) bool { return other == l })
	var lost []*member
	for _, r := range l.ranks {
		if m := h.members[r]; m.link == l { // unless it has a new link: before the start that may be
			h.vacate(m, reason)
			lost = append(lost, m)
		}
	}
	h.publish()
	h.respread()
	h.announce(lost)
	for _, m := range lost { // first: nothing it submitted need run again
		h.orphan(m)
	}
	for _, m := range lost {
		h.redo(m)
		if m.final { // it was known to be dead before its link ended
			h.abandon(m)
		}
	}
	for _, m := range h.members {
		h.feed(m)
	}
	h.parting()
	return true
}

// vacate takes a lost rank from where the scheduler and others would find it.
func (h *hub) vacate(m *member, reason string) {
	for len(m.seats) > 0 {
		m.seats[0].leave()
	}
	if m.final && m.draining {
		reason = removed
	}
	m.lost = h.lostError(m, reason)
	m.lost.learn(m.death)
	settle(&m.left)
	settle(&m.drained)
	m.port, m.link = nil, nil
	m.halted, m.away = false, false
	h.present--
	if m.bye {
		m.bye = false
		h.byes--
	}
}

// orphan drops what a lost rank had submitted.
func (h *hub) orphan(m *member) {
	for _, t := range m.submitted {
		if t != nil {
			h.drop(t)
		}
	}
	m.submitted = nil
	h.parts.dropAll(kindSubmit, uint32(m.rank))
}

// begun returns the tasks that a rank has, as it got them, and of each whether the rank can have begun it: its oldest.
func (m *member) begun() (ts []*task, begun []bool) {
	ts = slices.SortedFunc(m.runs.all, func(a, b *task) int { return cmp.Compare(a.order, b.order) })
	slots := max(1, m.slots)
	begun = make([]bool, len(ts))
	for i, t := range ts {
		begun[i] = t.yielded || slots > 0
		if !t.yielded {
			slots--
		}
	}
	return ts, begun
}

// redo has other ranks run what a lost one ran. Those tasks that it can have begun, being its oldest, lose a rank by it;
// those that only waited there do not, or whatever is queued beside a task that kills ranks would fail with it.
func (h *hub) redo(m *member) {
	ts, begun := m.begun()
	for i, t := range slices.Backward(ts) { // each goes before those behind it
		h.end(t)
		if begun[i] {
			h.tallies[t.fn()].lost++
		}
		switch {
		case t.dropped:
			h.release(t)
		case begun[i] && h.blame(t, m.lost):
			h.fail(t, m, exhausted(h.blames[t]))
		case t.pool.hopeless():
			h.despair(t)
		default:
			h.again(t)
			t.pool.queue.pushFront(t)
		}
	}
	m.stalled = false
	m.level = m.measure()
}

// blame notes that a task may have run on a rank when that was lost. It says whether the task has lost too many.
func (h *hub) blame(t *task, lost *LostError) (enough bool) {
	t.blamed = true
	h.blames[t] = append(h.blames[t], lost)
	limit := t.options.MaxLost
	if limit <= 0 {
		limit = defaultMaxLost
	}
	return len(h.blames[t]) >= limit
}

// exhausted makes the error of a task that has lost too many ranks.
func exhausted(lost []*LostError) func() *LostError {
	return func() *LostError {
		e := *lost[len(lost)-1]
		for _, l := range lost {
			e.Attempts = append(e.Attempts, LostRun{l.Rank, l.Node, l.Reason})
		}
		return &e
	}
}

// despair ends a task that nobody is left to run; it is neither queued nor on a rank.
func (h *hub) despair(t *task) {
	e := LostError{Rank: -1}
	var last *member
	p := t.pool
	for _, m := range p.ranks {
		if m.lost != nil {
			last = m
		}
	}
	h.fail(t, last, func() *LostError {
		const hopeless = "no rank is left that may run the task"
		switch {
		case p.closed && last == nil:
			e = *h.lostError(p.ranks[0], removed)
		case last == nil || last.lost == nil:
			e.Reason = hopeless
			return &e
		default:
			e = *last.lost
		}
		e.Reason += "; " + hopeless
		return &e
	})
}

// fail ends a task that is neither queued nor on a rank, because a rank was lost. The error is made once it is known how
// that died.
func (h *hub) fail(t *task, lost *member, err func() *LostError) {
	src := h.members[t.src]
	id, incarnation := t.id, src.incarnation
	head := resultHead{status: statusLost, attempt: t.payload[attemptAt]}
	h.unlist(t)
	h.release(t)
	h.onceKnown(lost, func() {
		if src.lost != nil || src.incarnation != incarnation {
			return
		}
		b := make([]byte, resultHeadLen)
		putResultHead(b, head)
		b = append(b, must(cborEnc.Marshal(err()))...) // strings and numbers always encode
		src.port.send(frame.Header{Kind: kindResult, Dst: uint32(src.rank), ID: id}, b)
		h.touch(src)
		h.urgent.Store(true)
	})
}

// abandon notes that a lost rank will not come back: what only it could run fails.
func (h *hub) abandon(m *member) {
	if m.final = true; m.lost == nil {
		return
	}
	settle(&m.arrived)
	for _, p := range h.poolsOf(m) {
		if !p.hopeless() {
			continue
		}
		for !p.queue.empty() {
			h.despair(p.queue.pop())
		}
	}
}

// lose ends the job: a rank is lost that it cannot do without.
func (h *hub) lose(m *member, reason string) {
	if h.over {
		return
	}
	h.over = true
	h.broadcastLost(h.lostError(m, reason))
}

func (h *hub) lostError(m *member, reason string) *LostError {
	return &LostError{Rank: m.rank, Node: h.node(m.rank), Reason: reason}
}

func (h *hub) broadcastLost(lost *LostError) {
	h.broadcast(frame.Header{Kind: kindLost}, must(cborEnc.Marshal(lost))) // strings and numbers always encode
}

// announce tells all ranks that some are lost or back, or have other slots.
func (h *hub) announce(lost []*member, back ...int) {
	h.epoch++
	news := membership{Epoch: h.epoch, Slots: h.slots(), Want: h.want, Back: back, Roster: h.lists}
	for _, m := range lost {
		news.Lost = append(news.Lost, m.lost.brief())
	}
	h.broadcast(frame.Header{Kind: kindMembers}, must(cborEnc.Marshal(news)))
}
