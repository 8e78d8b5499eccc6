package comm

import (
	"cmp"
	"fmt"
	"slices"
)

// maxSlots is how many tasks a job may be told to run at once.
const maxSlots = 1 << 24

// setSlots has the job run n tasks at once: the ranks share them as they would by themselves. Running tasks end as usual.
func (h *hub) setSlots(n uint64) error {
	if n < 1 || n > maxSlots {
		return fmt.Errorf("%d slots for the job, want 1 to %d", n, maxSlots)
	}
	h.want = int(n)
	h.respread()
	h.announce(nil)
	for _, m := range h.members {
		h.feed(m)
	}
	return nil
}

// respread spreads the slots that setSlots asked for, if it was called, over the ranks that are there: each gets the
// share that it would have by itself, and what is left over goes to those whose share was cut most.
func (h *hub) respread() {
	var ms []*member
	total := 0
	for _, m := range h.members {
		if m.lost == nil && m.base > 0 {
			ms = append(ms, m)
			total += m.base
		}
	}
	if h.want == 0 || total == 0 {
		return
	}
	left := h.want
	for _, m := range ms {
		m.slots = h.want * m.base / total
		left -= m.slots
	}
	slices.SortStableFunc(ms, func(a, b *member) int {
		return -cmp.Compare(h.want*a.base%total, h.want*b.base%total)
	})
	for _, m := range ms[:left] { // less than one is left for each
		m.slots++
	}
	for _, m := range ms {
		m.relevel()
		h.any.reseat(m)
	}
}

// reseat lets a rank in whose slots have changed, or out.
func (p *pool) reseat(m *member) {
	i := slices.IndexFunc(m.seats, func(s *seat) bool { return s.pool == p })
	if i >= 0 && m.slots == 0 {
		m.seats[i].leave()
	}
	p.seat(m)
}

// slots returns those of every rank, 0 for those that are lost.
func (h *hub) slots() []int {
	slots := make([]int, len(h.members))
	for i, m := range h.members {
		if m.lost == nil {
			slots[i] = m.slots
		}
	}
	return slots
}
