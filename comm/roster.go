package comm

import "errors"

// A roster says which ranks there are, and where. It only grows (AddNodes): a rank that is lost, or was removed, keeps its
// number.
type roster struct {
	node    []int        // index into nodes of each rank
	nodes   []string     // host of each node
	removed map[int]bool // ranks of nodes that were removed
}

// present returns the ranks that were not removed.
func (r *roster) present() (ranks []int) {
	for rank := range r.node {
		if !r.removed[rank] {
			ranks = append(ranks, rank)
		}
	}
	return ranks
}

// lists are a roster on its way.
type lists struct {
	Node    []int
	Nodes   []string
	Removed []int `cbor:",omitempty"`
}

// lists returns the roster as it travels.
func (r *roster) lists() *lists {
	return &lists{Node: r.node, Nodes: r.nodes}
}

// grow takes a new roster in; nil is none. Who reads the roster finds room for all of its ranks.
func (c *Comm) grow(l *lists) error {
	if l == nil {
		return nil
	}
	old := c.ranks.Load()
	ok := len(l.Node) >= len(old.node) && len(l.Nodes) >= len(old.nodes)
	for _, n := range l.Node {
		ok = ok && n >= 0 && n < len(l.Nodes)
	}
	if !ok {
		return errors.New("a roster that makes no sense")
	}
	all := &roster{node: l.Node, nodes: l.Nodes, removed: make(map[int]bool)}
	for _, rank := range l.Removed {
		all.removed[rank] = true
	}
	size := len(all.node)
	c.mail.grow(size)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slots = append(c.slots, make([]int, size-len(c.slots))...)
	c.ranTasks = append(c.ranTasks, make([]rankTally, size-len(c.ranTasks))...)
	c.ranks.Store(all)
	return nil
}

// join takes the welcome of the hub, before anything else comes.
func (c *Comm) join(w welcome) {
	c.epoch = w.Epoch
	copy(c.slots, w.Slots)
	for _, lost := range w.Lost {
		if lost.Rank >= 0 && lost.Rank < c.Size() {
			c.mail.lose(&lost)
			c.blobs.lose(lost.Rank, &lost)
		}
	}
	c.server.resize(c.slots[c.rank])
}

// update takes news of the other ranks.
func (c *Comm) update(news membership) error {
	if err := c.grow(news.Roster); err != nil {
		return err
	}
	ok := len(news.Slots) == c.Size()
	for _, lost := range news.Lost {
		ok = ok && lost.Rank >= 0 && lost.Rank < c.Size()
	}
	for _, rank := range news.Back {
		ok = ok && rank >= 0 && rank < c.Size()
	}
	if !ok {
		return errors.New("a membership that makes no sense")
	}
	c.mu.Lock()
	if news.Epoch <= c.epoch {
		c.mu.Unlock()
		return nil
	}
	c.epoch = news.Epoch
	copy(c.slots, news.Slots)
	c.wanted.hear(news.Want)
	for _, lost := range news.Lost { // the rest of what it was sending never comes
		c.parts.dropAll(kindResult, uint32(lost.Rank))
		c.parts.dropAll(kindMessage, uint32(lost.Rank))
	}
	c.mu.Unlock()
	for _, lost := range news.Lost {
		c.mail.lose(&lost)
		c.blobs.lose(lost.Rank, &lost)
	}
	for _, rank := range news.Back {
		c.mail.regain(rank)
		c.blobs.regain(rank)
	}
	c.server.resize(news.Slots[c.rank])
	return nil
}
