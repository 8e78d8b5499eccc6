package comm

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// A pool is a set of ranks and the tasks that wait for one of them. Any rank with a slot is in the pool of tasks that
// may run anywhere; a rank, a node or a list of ranks that some tasks are for is a pool of its own. A rank serves all
// the pools it is in.
//
// While a task waits, every rank of its pool is full: whatever makes room at a rank gives it tasks until it is full
// again or none wait (hub.feed). So a task that finds room need not look at the queue.
type pool struct {
	ranks  []*member // that may be in it, present or not
	any    bool      // of them only those with slots are
	closed bool      // all of them are to be removed: it takes no more tasks
	queue  queue
	tasks  int // that wait or run: a pool in use is not dropped
	levels [3][]*seat
	first  *seat // that of rank 0, if it is in
	turn   int
}

// A seat is a rank's membership of a pool.
type seat struct {
	pool   *pool
	member *member
	at     int // index in pool.levels of the member's level
}

// maxPools is how many pools of listed ranks may lie idle.
const maxPools = 256

// poolOf returns the pool that a task is for.
func (h *hub) poolOf(dst uint32, o *taskOptions) (*pool, error) {
	ranks := o.Ranks
	switch {
	case dst != anyRank:
		return h.alone(int64(dst))
	case len(ranks) == 1:
		return h.alone(int64(ranks[0]))
	case len(ranks) > 1:
		return h.listed(ranks)
	case o.Node == 0:
		return h.any, nil
	case o.Node < 0 || o.Node > len(h.nodes):
		return nil, fmt.Errorf("a task for node %d of %d", o.Node-1, len(h.nodes))
	}
	return h.nodes[o.Node-1], nil
}

// alone returns the pool of one rank.
func (h *hub) alone(rank int64) (*pool, error) {
	if rank < 0 || rank >= int64(len(h.members)) {
		return nil, fmt.Errorf("a task for rank %d of %d", rank, len(h.members))
	}
	m := h.members[rank]
	if m.alone == nil {
		m.alone = h.newPool([]*member{m})
	}
	return m.alone, nil
}

// listed returns the pool of several ranks.
func (h *hub) listed(ranks []int) (*pool, error) {
	h.key = h.key[:0]
	for _, r := range ranks {
		if r < 0 || r >= len(h.members) {
			return nil, fmt.Errorf("a task for rank %d of %d", r, len(h.members))
		}
		h.key = binary.AppendUvarint(h.key, uint64(r))
	}
	if p := h.pools[string(h.key)]; p != nil {
		return p, nil
	}
	if len(h.pools) >= maxPools {
		for key, p := range h.pools {
			if p.tasks == 0 {
				delete(h.pools, key)
				p.close()
			}
		}
	}
	var ms []*member
	for _, r := range ranks {
		if !slices.Contains(ms, h.members[r]) {
			ms = append(ms, h.members[r])
		}
	}
	p := h.newPool(ms)
	h.pools[string(h.key)] = p
	return p, nil
}

func (h *hub) newPool(ranks []*member) *pool {
	p := &pool{ranks: ranks}
	p.closed = p.leaves()
	for _, m := range ranks {
		p.seat(m)
	}
	return p
}

// poolsOf returns the pools that a rank may be in.
func (h *hub) poolsOf(m *member) []*pool {
	ps := []*pool{h.any, m.node}
	if m.alone != nil {
		ps = append(ps, m.alone)
	}
	for _, p := range h.pools {
		if slices.Contains(p.ranks, m) {
			ps = append(ps, p)
		}
	}
	return ps
}

// close has its ranks leave.
func (p *pool) close() {
	for _, m := range p.ranks {
		m.seats = slices.DeleteFunc(m.seats, func(s *seat) bool { return s.pool == p })
	}
}

// seat takes a rank in, if it is there and not in already.
func (p *pool) seat(m *member) {
	if m.lost != nil || m.draining && !p.closed || p.any && m.slots == 0 || slices.ContainsFunc(m.seats, func(s *seat) bool { return s.pool == p }) {
		return
	}
	s := &seat{pool: p, member: m, at: len(p.levels[m.level])}
	p.levels[m.level] = append(p.levels[m.level], s)
	m.seats = append(m.seats, s)
	if m.rank == 0 {
		p.first = s
	}
}

// leave takes a seat away.
func (s *seat) leave() {
	m := s.member
	s.take(m.level)
	m.seats = slices.DeleteFunc(m.seats, func(other *seat) bool { return other == s })
	if s.pool.first == s {
		s.pool.first = nil
	}
}

// take takes a seat from among those of a level, put puts it last among them.
func (s *seat) take(l level) {
	old := s.pool.levels[l]
	last := old[len(old)-1]
	old[s.at], last.at = last, s.at
	old[len(old)-1] = nil
	s.pool.levels[l] = old[:len(old)-1]
}

func (s *seat) put(l level) {
	s.at = len(s.pool.levels[l])
	s.pool.levels[l] = append(s.pool.levels[l], s)
}

// swap moves a rank to another place among those of its level.
func (s *seat) swap(to int) {
	ss := s.pool.levels[s.member.level]
	other := ss[to]
	ss[s.at], ss[to] = other, s
	other.at, s.at = s.at, to
}

// pick chooses a rank for the next task: nil if all are full. Of idle ones the hub's own comes first, being next door,
// then the last to become idle, which is still awake; those that are ready take turns.
func (p *pool) pick() *member {
	if p.first != nil && p.first.member.level == idle {
		return p.first.member
	}
	if ss := p.levels[idle]; len(ss) > 0 {
		return ss[len(ss)-1].member
	}
	if ss := p.levels[ready]; len(ss) > 0 {
		p.turn++
		return ss[p.turn%len(ss)].member
	}
	return nil
}

// leaves says whether all its ranks are to be removed.
func (p *pool) leaves() bool {
	return !slices.ContainsFunc(p.ranks, func(m *member) bool { return !m.draining })
}

// hopeless says that nobody who could serve a pool is there or to come back.
func (p *pool) hopeless() bool {
	return !slices.ContainsFunc(p.ranks, func(m *member) bool {
		if m.lost != nil {
			return !m.final && (!p.any || m.base > 0)
		}
		return !p.any || m.slots > 0
	})
}
