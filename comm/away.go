package comm

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/comm/place"
)

// A rank that is stopped, or of which nothing is heard for a while, is not lost: it may go on at any time. But what it was
// given ahead of need goes to others meanwhile, and it gets nothing new. The oldest of its tasks, as many as it has slots,
// may have begun, and stay: nobody knows how far they are. Should one of the others have begun there after all, its
// context ends as soon as the rank hears of it, and its result is dropped: a run that was taken back has ended (hub.late).

// excuses says whether nothing can come of the ranks behind a link though they live.
func (h *hub) excuses(l *link) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !slices.ContainsFunc(l.ranks, func(r int) bool { return !h.members[r].halted })
}

// stopped takes the news that the process of a rank is stopped, or goes on.
func (h *hub) stopped(rank int, is bool) {
	m := h.member(rank)
	if m == nil {
		return
	}
	h.mu.Lock()
	m.halted = is
	h.leaveAlone(m, is)
	h.mu.Unlock()
	h.flush()
}

// hear takes the news that a link is heard in another way than before.
func (h *hub) hear(l *link, before, now hearing) {
	var news []place.Missed
	h.mu.Lock()
	for _, r := range l.ranks {
		m := h.members[r]
		if m.link != l {
			continue
		}
		h.leaveAlone(m, now > heard || m.halted)
		if how := now.told(); how != before.told() {
			news = append(news, place.Missed{Rank: m.rank, Incarnation: m.incarnation, How: how})
		}
	}
	h.mu.Unlock()
	for _, m := range news {
		h.missed(m)
	}
	h.flush()
}

// told is what the agent is told.
func (h hearing) told() place.Hearing {
	switch h {
	case unheard:
		return place.Unheard
	case dead:
		return place.GivenUp
	}
	return place.Heard
}

// leaveAlone gives a rank nothing more, and takes back what it has not begun; or ends that.
func (h *hub) leaveAlone(m *member, away bool) {
	if m.away == away || m.lost != nil || h.over {
		return
	}
	h.clock = 0
	m.away = away
	var back []*task
	if away {
		back = m.waitingTasks()
	}
	for _, t := range slices.Backward(back) { // each goes before those behind it
		m.port.send(frame.Header{Kind: kindCancel, Src: uint32(t.src), Dst: uint32(m.rank), ID: t.run}, nil)
		h.end(t)
		h.again(t)
		t.pool.queue.pushFront(t)
	}
	h.touch(m)
	m.relevel()
	h.feed(m)
	for _, t := range back {
		h.place(t.pool)
	}
}

// waitingTasks returns the tasks that a rank cannot have begun, the oldest first, but for those that must not run twice.
func (m *member) waitingTasks() (ts []*task) {
	slots := max(1, m.slots)
	for _, t := range slices.SortedFunc(m.runs.all, func(a, b *task) int { return cmp.Compare(a.order, b.order) }) {
		switch {
		case t.yielded || t.partial:
		case slots > 0:
			slots--
		case !t.dropped && t.options.MaxLost != 1:
			ts = append(ts, t)
		}
	}
	return ts
}

// whereabouts says in words that a rank is away, and what stays with it.
func (h *hub) whereabouts(m *member) string {
	text := fmt.Sprintf("rank %d (%s) is stopped", m.rank, h.node(m.rank))
	if !m.halted {
		text = fmt.Sprintf("nothing is heard of rank %d (%s)", m.rank, h.node(m.rank))
	}
	stay := make(map[string]int)
	for t := range m.runs.all {
		stay[h.fns[t.fn()].name]++
	}
	if len(stay) > 0 {
		text += "; what it may have begun waits for it: " + listed(stay)
	}
	return text
}
