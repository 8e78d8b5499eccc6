package comm

import (
	"cmp"
	"errors"
	"fmt"
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
		if h.members[r].role != place.Serve {
			h.lose(h.members[r], reason)
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
	m.lost = &LostError{Rank: m.rank, Node: h.node(m.rank), Reason: reason}
	m.port, m.link = nil, nil
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

// redo has other ranks run what a lost one ran. Those tasks that it can have begun, being its oldest, lose a rank by it;
// those that only waited there do not, or whatever is queued beside a task that kills ranks would fail with it.
func (h *hub) redo(m *member) {
	ts := slices.SortedFunc(m.runs.all, func(a, b *task) int { return cmp.Compare(a.order, b.order) })
	slots := max(1, m.slots)
	begun := make([]bool, len(ts))
	for i, t := range ts {
		begun[i] = t.yielded || slots > 0
		if !t.yielded {
			slots--
		}
	}
	for i, t := range slices.Backward(ts) { // each goes before those behind it
		h.end(t)
		switch {
		case t.dropped:
			h.release(t)
		case begun[i] && t.blame(m.lost):
			h.fail(t, t.exhausted())
		case t.pool.hopeless():
			h.fail(t, t.pool.lostError())
		default:
			h.again(t)
			t.pool.queue.pushFront(t)
		}
	}
	m.level = m.measure()
}

// blame notes that a task may have run on a rank when that was lost. It says whether the task has lost too many.
func (t *task) blame(lost *LostError) (enough bool) {
	if t.lost == nil {
		t.lost = new([]Attempt)
	}
	*t.lost = append(*t.lost, Attempt{lost.Rank, lost.Node, lost.Reason})
	limit := t.options.MaxLost
	if limit <= 0 {
		limit = defaultMaxLost
	}
	return len(*t.lost) >= limit
}

// exhausted is the error of a task that has lost too many ranks.
func (t *task) exhausted() *LostError {
	last := (*t.lost)[len(*t.lost)-1]
	return &LostError{Rank: last.Rank, Node: last.Node, Reason: last.Reason, Attempts: *t.lost}
}

// lostError is the error of a task that nobody is left to run.
func (p *pool) lostError() *LostError {
	lost := &LostError{Rank: -1, Reason: "no rank is left that may run the task"}
	for _, m := range p.ranks {
		if m.lost != nil {
			*lost = *m.lost
			lost.Reason += "; no rank is left that may run the task"
		}
	}
	return lost
}

// fail ends a task that is neither queued nor on a rank.
func (h *hub) fail(t *task, err *LostError) {
	b := make([]byte, resultHeadLen)
	putResultHead(b, resultHead{status: statusLost, attempt: t.payload[attemptAt]})
	b = append(b, must(cborEnc.Marshal(err))...) // strings and numbers always encode
	t.src.port.send(frame.Header{Kind: kindResult, Dst: uint32(t.src.rank), ID: t.id}, b)
	h.touch(t.src)
	h.urgent.Store(true)
	t.unlist()
	h.release(t)
}

// abandon notes that a lost rank will not come back: what only it could run fails.
func (h *hub) abandon(m *member) {
	if m.final = true; m.lost == nil {
		return
	}
	for _, p := range h.poolsOf(m) {
		if !p.hopeless() {
			continue
		}
		for !p.queue.empty() {
			h.fail(p.queue.pop(), p.lostError())
		}
	}
}

// lose ends the job: a rank is lost that it cannot do without.
func (h *hub) lose(m *member, reason string) {
	if h.over {
		return
	}
	h.over = true
	b := must(cborEnc.Marshal(LostError{Rank: m.rank, Node: h.node(m.rank), Reason: reason}))
	h.broadcast(frame.Header{Kind: kindLost}, b)
}

// announce tells all ranks that some are lost or back, or have other slots.
func (h *hub) announce(lost []*member, back ...int) {
	h.epoch++
	news := membership{Epoch: h.epoch, Slots: h.slots(), Back: back}
	for _, m := range lost {
		news.Lost = append(news.Lost, *m.lost)
	}
	h.broadcast(frame.Header{Kind: kindMembers}, must(cborEnc.Marshal(news)))
}

var errOver = errors.New("the job is over")

// expect makes room for a new incarnation of a rank: if nobody has noticed yet that the old one is gone, it is now.
func (h *hub) expect(r helloRank) error {
	h.mu.Lock()
	m := h.members[r.Rank]
	err, old := m.refuses(r), m.link
	if h.over {
		err = errOver
	}
	h.mu.Unlock()
	if err == nil && old != nil {
		old.conn.Close()
		<-old.ended
	}
	return err
}

// refuses says why a rank cannot come (again) as a hello says.
func (m *member) refuses(r helloRank) error {
	switch {
	case r.Incarnation <= m.incarnation && m.lost != nil:
		return fmt.Errorf("incarnation %d of rank %d is lost, and later ones only may come", r.Incarnation, r.Rank)
	case r.Incarnation <= m.incarnation, m.role != place.Serve, r.Role != place.Serve:
		return fmt.Errorf("rank %d is in already", r.Rank)
	}
	return nil
}

// admit lets new incarnations of lost ranks in, and reads what comes from them.
func (h *hub) admit(l *link, ranks []helloRank) error {
	h.mu.Lock()
	err := h.takeBack(l, ranks)
	if err == nil {
		l.start()
		h.readers.Go(func() { h.read(l) })
	}
	h.mu.Unlock()
	h.flush()
	return err
}

// takeBack gives lost ranks their places again, behind a link that nobody else knows of yet.
func (h *hub) takeBack(l *link, ranks []helloRank) error {
	for _, r := range ranks {
		m := h.members[r.Rank]
		switch err := m.refuses(r); {
		case h.over:
			return errOver
		case err != nil:
			return err
		case m.lost == nil:
			return fmt.Errorf("rank %d is in already", r.Rank)
		}
	}
	var back []int
	for _, r := range ranks {
		m := h.members[r.Rank]
		m.sit(l, r)
		m.lost, m.final = nil, false
		h.seat(m)
		h.present++
		back = append(back, r.Rank)
	}
	h.respread()
	h.links = append(h.links, l)
	l.out = append(l.out, h.welcome(h.epoch+1)...)
	h.publish()
	h.announce(nil, back...)
	for _, m := range h.members {
		h.feed(m)
	}
	return nil
}

// sit puts a rank behind a link.
func (m *member) sit(l *link, r helloRank) {
	m.link, m.port = l, l
	m.slots, m.base = r.Slots, r.Slots
	m.role, m.incarnation = r.Role, r.Incarnation
	l.ranks = append(l.ranks, r.Rank)
}

// welcome is what a link is told first.
func (h *hub) welcome(epoch uint64) []byte {
	w := welcome{Epoch: epoch, Slots: h.slots()}
	for _, m := range h.members {
		if m.lost != nil {
			w.Lost = append(w.Lost, *m.lost)
		}
	}
	return must(appendCBOR(nil, kindWelcome, w))
}
