package launch

import (
	"fmt"
	"slices"
)

// Order is how ranks are dealt out to nodes.
type Order uint8

const (
	Block  Order = iota // fill a node before the next one begins
	Cyclic              // one rank to each node in turn
)

// Request is what the user wants of a placement.
type Request struct {
	N               int // ranks; 0: one for each slot
	PPN             int // ranks on each node; 0: as many as it has slots
	CPUs            int // slots of each rank; 0: its share of the node's CPUs
	Order           Order
	NoOversubscribe bool // refuse more ranks than slots
	rootIdle        bool // rank 0 has no slot: it runs no tasks
}

// capacity is what one node offers.
type capacity struct {
	Host  string
	Slots int // ranks meant for it; 0: as many as CPUs allow; below 0: none
	CPUs  int // usable processors; 0: not known
}

// Placement says where every rank runs.
type Placement struct {
	Hosts     []string // of each node, those without ranks too
	NodeOf    []int    // node of each rank
	LocalRank []int    // index of each rank among those of its node
	Slots     []int    // of each rank; 0: the node's CPUs are not known
}

// Size is the number of ranks.
func (p *Placement) Size() int { return len(p.NodeOf) }

// used returns the nodes that have ranks, in ascending order.
func (p *Placement) used() []int {
	used := slices.Clone(p.NodeOf)
	slices.Sort(used)
	return slices.Compact(used)
}

// slots is how many ranks a node takes before it is oversubscribed; 0 where that depends on CPUs nobody knows yet.
func (r Request) slots(c capacity) int {
	switch {
	case c.Slots != 0:
		return max(0, c.Slots)
	case c.CPUs > 0:
		return max(1, c.CPUs/max(1, r.CPUs))
	}
	return 0
}

// certain says whether mapRanks can place the ranks on these nodes without asking them for their CPUs.
func (r Request) certain(nodes []capacity) bool {
	return r.PPN > 0 && !r.NoOversubscribe || !slices.ContainsFunc(nodes, func(c capacity) bool { return r.slots(c) == 0 })
}

// mapRanks places ranks on nodes. It is arithmetic only. The warning, when not empty, is for the user: there are more ranks
// than slots.
func mapRanks(nodes []capacity, r Request) (p Placement, warning string, err error) {
	room := make([]int, len(nodes)) // ranks that fit on each node
	slots, total := 0, 0
	for i, c := range nodes {
		p.Hosts = append(p.Hosts, c.Host)
		room[i] = r.slots(c)
		slots += room[i]
		if r.PPN > 0 && c.Slots >= 0 {
			room[i] = r.PPN
		}
		total += room[i]
	}
	n := r.N
	if n == 0 {
		n = total
	}
	if r.PPN > 0 && n > total {
		return p, "", fmt.Errorf("want %d ranks, --ppn %d on %s gives %d: add hosts or raise --ppn", n, r.PPN, count(len(nodes), "node"), total)
	}
	if total == 0 {
		return p, "", fmt.Errorf("no node has a slot: add hosts")
	}
	switch r.Order {
	case Block:
		p.NodeOf = block(room, n)
	case Cyclic:
		p.NodeOf = cyclic(room, n)
	}
	if over := r.overfull(nodes, p); over != "" {
		if r.NoOversubscribe {
			return p, "", fmt.Errorf("%s: add hosts or leave out --no-oversubscribe", over)
		}
		warning = over + ": they share CPUs"
	}
	p.deal(nodes, r)
	return p, warning, nil
}

// overfull says in words that there are more ranks than slots, or nothing.
func (r Request) overfull(nodes []capacity, p Placement) string {
	ranks := make([]int, len(nodes))
	for _, n := range p.NodeOf {
		ranks[n]++
	}
	slots, over := 0, -1
	for i, c := range nodes {
		s := r.slots(c)
		slots += s
		if s > 0 && ranks[i] > s && over < 0 {
			over = i
		}
	}
	switch {
	case over < 0:
		return ""
	case p.Size() > slots:
		return fmt.Sprintf("%s on %s", count(p.Size(), "rank"), count(slots, "slot"))
	}
	return fmt.Sprintf("%s on %s of %s", count(ranks[over], "rank"), count(r.slots(nodes[over]), "slot"), nodes[over].Host)
}

// block gives each node all its ranks in one run. Where n is more than there is room, room is given out again.
func block(room []int, n int) []int {
	ranks := make([]int, len(room))
	for left := n; left > 0; {
		for i := range room {
			take := min(room[i], left)
			ranks[i] += take
			left -= take
		}
	}
	nodeOf := make([]int, 0, n)
	for i, k := range ranks {
		nodeOf = append(nodeOf, slices.Repeat([]int{i}, k)...)
	}
	return nodeOf
}

// cyclic gives one rank to each node with room in turn.
func cyclic(room []int, n int) []int {
	nodeOf := make([]int, 0, n)
	for used := 0; len(nodeOf) < n; used++ {
		before := len(nodeOf)
		for i := range room {
			if used < room[i] && len(nodeOf) < n {
				nodeOf = append(nodeOf, i)
			}
		}
		if len(nodeOf) == before {
			used = -1
		}
	}
	return nodeOf
}

// deal fills in local ranks and each rank's share of its node's CPUs.
func (p *Placement) deal(nodes []capacity, r Request) {
	ranks := make([]int, len(nodes))
	p.LocalRank = make([]int, len(p.NodeOf))
	for rank, n := range p.NodeOf {
		p.LocalRank[rank] = ranks[n]
		ranks[n]++
	}
	p.Slots = make([]int, len(p.NodeOf))
	for rank, n := range p.NodeOf {
		switch cpus, local := nodes[n].CPUs, p.LocalRank[rank]; {
		case r.CPUs > 0:
			p.Slots[rank] = r.CPUs
		case cpus > 0:
			p.Slots[rank] = share(local, ranks[n], cpus)
		}
	}
	if r.rootIdle {
		p.Slots[0] = 0
	}
}

// share is how many of a node's CPUs one of its ranks has.
func share(local, ranks, cpus int) int { return max(1, (local+1)*cpus/ranks-local*cpus/ranks) }

// count is "1 rank", "2 ranks".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
