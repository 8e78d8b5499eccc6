package comm

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/pprun/pprun/comm/frame"
)

// maxSlots is how many tasks a job may be told to run at once.
const maxSlots = 1 << 24

// SetSlots sets how many tasks the whole job runs at once, which is then what Slots returns: the ranks that run tasks
// share them in proportion to what they had at first. There may be more than at first, or fewer: then running tasks go on,
// and no more begin until they are few enough. It returns when all ranks are told, or ctx ends.
func (c *Comm) SetSlots(ctx context.Context, n int) error {
	if n < 1 || n > maxSlots {
		return fmt.Errorf("comm: SetSlots(%d): want 1 to %d", n, maxSlots)
	}
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return c.err
	}
	heard := c.wanted.expect(n)
	c.mu.Unlock()
	c.up.send(frame.Header{Kind: kindSlots, Src: uint32(c.rank), ID: uint64(n)}, nil)
	c.up.flush()
	select {
	case <-heard:
		return nil
	case <-c.broken:
		return c.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// wanted are numbers of slots that SetSlots has asked for and the hub has not told of yet.
type wanted map[int]chan struct{}

// expect returns a channel that is closed when the hub tells of n.
func (w *wanted) expect(n int) <-chan struct{} {
	if *w == nil {
		*w = make(wanted)
	}
	if (*w)[n] == nil {
		(*w)[n] = make(chan struct{})
	}
	return (*w)[n]
}

// hear takes what the hub tells.
func (w wanted) hear(n int) {
	if heard := w[n]; heard != nil {
		close(heard)
		delete(w, n)
	}
}

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
		if m.lost == nil && !m.draining && m.base > 0 {
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
		if m.lost == nil && !m.draining {
			slots[i] = m.slots
		}
	}
	return slots
}
