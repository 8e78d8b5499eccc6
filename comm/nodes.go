package comm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/comm/place"
)

// AddNodes has the job use further machines, and returns when their ranks take tasks: names are as those of
// launch.Servers, where the program was given servers, else as those in a hosts file; ssh://[user@]host[:port] is always
// one that is reached by ssh. The new ranks have the numbers from Size on, and only serve. Of several machines those that
// come are used, the error says what is wrong with the others. Only rank 0 of a program that was launched Via servers or
// hosts (launch.Servers() has none yet) may add any. It may be called at any time, from several goroutines, too.
func (c *Comm) AddNodes(ctx context.Context, names ...string) error {
	h, err := c.ownHub()
	switch {
	case err != nil:
	case c.launched == nil:
		err = errors.New("the program has not launched itself: use comm.Via")
	}
	if err != nil {
		return fmt.Errorf("comm: AddNodes(%q): %w", names, err)
	}
	var fresh []*member
	err = c.launched.AddNodes(ctx, names, func(g place.Growth) { fresh = append(fresh, h.grow(g)...) })
	for _, m := range fresh {
		if e := h.await(ctx, &m.arrived, func() bool { return m.lost == nil || m.final }); e != nil {
			return fmt.Errorf("comm: AddNodes(%q): rank %d (%s) has not come: %w", names, m.rank, c.nodeName(m.rank), e)
		}
		if lost := h.lostOf(m); lost != nil {
			err = errors.Join(err, lost)
		}
	}
	if err != nil {
		return errorf("AddNodes(%q): %w", names, err)
	}
	return nil
}

// RemoveNode takes a machine out of the job: its ranks are given no more tasks, and their processes end when those are
// done that they have, or that were submitted for them alone; none is lost. Nodes has its name. Tasks that are
// submitted for its ranks alone from then on fail with a LostError, and so does Get of a Ref that one of them shared.
// Only rank 0 may call it, for another machine than its own. If ctx ends before, nothing new runs there still, and
// RemoveNode may be called again. In jobs of pprun all ranks have to call Main.
func (c *Comm) RemoveNode(ctx context.Context, name string) error {
	h, err := c.ownHub()
	var node int
	var ms []*member
	if err == nil {
		node, ms, err = h.drain(name)
	}
	for _, m := range ms {
		if err == nil {
			err = h.await(ctx, &m.drained, func() bool { return m.runs.len() == 0 && !h.owes(m) })
		}
	}
	if err == nil {
		h.sendOff(ms)
	}
	for _, m := range ms {
		if err == nil {
			err = h.await(ctx, &m.left, func() bool { return m.lost != nil })
		}
	}
	if err == nil && c.launched != nil {
		err = c.launched.RemoveNode(ctx, node)
	}
	if err != nil {
		return fmt.Errorf("comm: RemoveNode(%q): %w", name, err)
	}
	return nil
}

// ownHub returns the hub, which rank 0 has.
func (c *Comm) ownHub() (*hub, error) {
	p, ok := c.up.(hubPort)
	if !ok {
		return nil, fmt.Errorf("this is rank %d: only rank 0 may", c.rank)
	}
	return p.hub, nil
}

// await waits until reached, which needs mu, says so; changed is closed when it may.
func (h *hub) await(ctx context.Context, changed *chan struct{}, reached func() bool) error {
	for {
		h.mu.Lock()
		if reached() {
			h.mu.Unlock()
			return nil
		}
		if *changed == nil {
			*changed = make(chan struct{})
		}
		now := *changed
		h.mu.Unlock()
		select {
		case <-now:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-h.comm.broken:
			return h.comm.err
		case <-h.comm.bye:
			return ErrClosed
		}
	}
}

// settle wakes who awaits. The hub's mu is held.
func settle(changed *chan struct{}) {
	if *changed != nil {
		close(*changed)
		*changed = nil
	}
}

// lostOf returns why a rank is lost, nil if it is not.
func (h *hub) lostOf(m *member) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if m.lost == nil {
		return nil
	}
	lost := m.lost.brief()
	return &lost
}

// grow makes room for ranks that are to come. Until they have they are like ranks that are lost.
func (h *hub) grow(g place.Growth) (fresh []*member) {
	h.mu.Lock()
	for range g.Nodes[len(h.nodes):] {
		h.nodes = append(h.nodes, &pool{})
	}
	for rank := len(h.members); rank < len(g.NodeOf); rank++ {
		node := g.NodeOf[rank]
		m := &member{
			rank: rank, role: place.Serve, base: g.Slots[rank], node: h.nodes[node],
			lost: &LostError{Rank: rank, Node: g.Nodes[node], Reason: "it has not come yet"},
		}
		m.node.ranks = append(m.node.ranks, m)
		fresh = append(fresh, m)
	}
	h.members = append(h.members, fresh...)
	h.any.ranks = h.members
	h.list(&lists{Node: g.NodeOf, Nodes: g.Nodes})
	h.publish()
	h.announce(fresh)
	h.mu.Unlock()
	h.flush()
	return fresh
}

// list notes a new roster.
func (h *hub) list(l *lists) {
	for _, m := range h.members {
		if m.draining && m.final {
			l.Removed = append(l.Removed, m.rank)
		}
	}
	h.lists = l
}

// removed is why a rank is lost whose node was removed.
const removed = "its node was removed from the job"

// owes says whether tasks wait that a rank which is to be removed must run.
func (h *hub) owes(m *member) bool {
	return slices.ContainsFunc(h.poolsOf(m), func(p *pool) bool { return p.closed && p.tasks > 0 })
}

// drain gives the ranks of a node no more tasks.
func (h *hub) drain(name string) (node int, ms []*member, err error) {
	h.mu.Lock()
	defer h.flush()
	defer h.mu.Unlock()
	var names []string
	node = -1
	for i, p := range h.nodes {
		if len(p.ranks) == 0 || p.ranks[0].draining && p.ranks[0].final {
			continue
		}
		there := h.node(p.ranks[0].rank)
		if names = append(names, there); there == name {
			node, ms = i, p.ranks
		}
	}
	switch {
	case node < 0:
		return 0, nil, fmt.Errorf("the nodes are %s", strings.Join(names, ", "))
	case slices.Contains(ms, h.members[0]):
		return 0, nil, errors.New("rank 0 is there")
	}
	for _, m := range ms {
		if m.role != place.Serve {
			return 0, nil, fmt.Errorf("rank %d there does not only serve tasks", m.rank)
		}
	}
	h.clock = 0
	for _, m := range ms {
		m.draining = true
	}
	for _, m := range ms {
		for _, p := range h.poolsOf(m) {
			p.closed = p.leaves()
		}
		for _, s := range slices.Clone(m.seats) {
			if !s.pool.closed {
				s.leave()
			}
		}
	}
	h.respread()
	h.announce(nil)
	return node, ms, nil
}

// sendOff ends ranks that run nothing any more.
func (h *hub) sendOff(ms []*member) {
	h.mu.Lock()
	for _, m := range ms {
		m.final = true
		if m.lost == nil {
			m.port.send(frame.Header{Kind: kindBye, Dst: uint32(m.rank)}, nil)
			h.touch(m)
		} else {
			h.abandon(m)
		}
	}
	h.list(h.comm.ranks.Load().lists())
	h.announce(nil)
	h.mu.Unlock()
	h.flush()
}
