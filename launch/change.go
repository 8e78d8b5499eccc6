package launch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pprun/pprun/comm/place"
	"github.com/pprun/pprun/hostfile"
	"github.com/pprun/pprun/launch/agent"
)

// Nodes that are added to a job, and removed from it, while it runs: see comm.AddNodes.

// addition is the event that nodes are to be added.
type addition struct {
	ctx   context.Context
	nodes []*node
	grow  func(place.Growth)
	told  chan error // receives one for each node: nil, or why it does not come
}

// removal is the event that a node is to leave.
type removal struct {
	index int
	left  chan<- error // receives nil when it has
}

func (a *attached) AddNodes(ctx context.Context, names []string, grow func(place.Growth)) error {
	add := &addition{ctx: ctx, grow: grow}
	var err error
	if add.nodes, err = a.job.parseNodes(names); err != nil {
		return err
	}
	add.told = make(chan error, len(add.nodes))
	if err := a.post(add); err != nil {
		return err
	}
	var all []error
	for range add.nodes {
		select {
		case err := <-add.told:
			all = append(all, err)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-a.ended:
			return errEnded
		}
	}
	return errors.Join(all...)
}

func (a *attached) RemoveNode(ctx context.Context, index int) error {
	left := make(chan error, 1)
	if err := a.post(&removal{index, left}); err != nil {
		return err
	}
	select {
	case err := <-left:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-a.ended:
		return errEnded
	}
}

var errEnded = errors.New("the job has ended")

// post hands the job an event.
func (a *attached) post(what any) error {
	select {
	case a.job.events <- event{what: what}:
		return nil
	case <-a.ended:
		return errEnded
	}
}

// parseNodes reads the names of nodes to be added. It may be called from any goroutine: what it reads does not change.
func (j *job) parseNodes(names []string) (all []*node, err error) {
	if !j.open {
		return nil, errors.New("the job is for this machine only: launch it with launch.Servers or launch.Hosts, which may name no other")
	}
	for _, name := range names {
		var hosts []hostfile.Node
		server := j.byServer && !strings.HasPrefix(name, "ssh://")
		if server {
			hosts, err = hostfile.ParseServers(name, ServerPort)
		} else {
			var h *hostfile.Hosts
			if h, err = hostfile.ParseList(name); err == nil {
				hosts = h.Nodes
			}
		}
		if err != nil {
			return nil, err
		}
		for _, h := range hosts {
			all = append(all, &node{host: h, server: server})
		}
	}
	return all, nil
}

// addNodes begins to add nodes.
func (j *job) addNodes(add *addition) {
	for _, n := range add.nodes {
		here := func(other *node) bool {
			return !other.leaving && (!other.gone || j.comesBack(other)) && other.host.Host == n.host.Host && other.host.Port == n.host.Port
		}
		switch {
		case j.verdict != nil || j.over:
			add.told <- errEnded
		case !n.server && isLocal(n.host):
			add.told <- fmt.Errorf("%s: is this machine", n.host.Host)
		case slices.ContainsFunc(j.nodes, here):
			add.told <- fmt.Errorf("%s: is in the job already", n.host.Host)
		default:
			n.late = &late{added: add}
			j.fetch(n)
		}
	}
}

// populate gives a node that was added its ranks, one for each of its slots.
func (j *job) populate(n *node) {
	p := &j.placement
	count := n.host.Slots
	if count == 0 {
		count = max(1, n.ready.CPUs)
	}
	// Others read what there is: it is left as it is.
	p.NodeOf, p.LocalRank, p.Slots = slices.Clone(p.NodeOf), slices.Clone(p.LocalRank), slices.Clone(p.Slots)
	cpus := n.ready.CPUs
	if n.server { // its slots are all that the user wants of it
		cpus = count
	}
	for i := range count {
		n.ranks = append(n.ranks, p.Size())
		p.NodeOf, p.LocalRank = append(p.NodeOf, n.index), append(p.LocalRank, i)
		p.Slots = append(p.Slots, share(i, count, cpus))
		j.lives = append(j.lives, life{role: place.Serve})
	}
	j.out.extended(p)
	n.late.added.grow(place.Growth{Nodes: p.Hosts, NodeOf: p.NodeOf, Slots: p.Slots})
}

// removeNode has a node leave whose ranks have left: what is left of them is ended, then the agent.
func (j *job) removeNode(rm *removal) {
	n := j.nodes[rm.index]
	n.left = append(n.left, rm.left)
	switch {
	case n.gone:
		j.leave(n)
	case !n.leaving:
		n.leaving = true
		n.send(agent.KindKill, uint64(j.Grace.Milliseconds()))
		n.send(agent.KindBye, 0)
	}
}

// leave notes that a node has left.
func (j *job) leave(n *node) {
	n.leaving, n.gone = true, true
	j.streams.lose(n)
	j.begun.Go(n.close)
	j.running -= len(n.running)
	clear(n.running)
	j.respawns = slices.DeleteFunc(j.respawns, func(r respawn) bool { return r.node == n })
	for _, left := range n.left {
		left <- nil
	}
	n.left = nil
}
