package launch

import (
	"fmt"

	"github.com/pprun/pprun/launch/agent"
)

// place gives every rank its node, once the nodes' CPUs are known.
func (j *job) place() bool {
	if !j.all(func(n *node) bool { return n.ready != nil || n.local && len(j.nodes) == 1 }) {
		return false
	}
	j.mergeTwins()
	p, warning, err := mapRanks(j.capacities(), j.Request)
	if err != nil {
		j.condemn(&verdict{status: StatusUsage, text: err.Error()})
		return false
	}
	if j.StdinTo >= p.Size() {
		j.condemn(&verdict{status: StatusUsage, text: fmt.Sprintf("--stdin %d: no such rank: want one below %d", j.StdinTo, p.Size())})
		return false
	}
	if warning != "" {
		j.warn("%s", warning)
	}
	j.placement, j.running, j.lives = p, p.Size(), make([]life, p.Size())
	for rank, n := range p.NodeOf {
		j.nodes[n].ranks = append(j.nodes[n].ranks, rank)
		j.nodes[n].running[rank] = true
	}
	j.dropIdle()
	if j.Output != "" {
		if j.out.files, err = openFiles(j.Output, &p, j.wrote, func(err error) { j.outputBroke(j.Output, err) }); err != nil {
			j.condemn(&verdict{status: StatusFailed, text: writeFailure(j.Output, err)})
			return false
		}
	}
	j.out.placed(&p) // from here on output is taken
	return true
}

// dropIdle dismisses the agents that have turned out to get no rank.
func (j *job) dropIdle() {
	for _, n := range j.nodes {
		if len(n.ranks) == 0 {
			n.send(agent.KindBye, 0)
		}
	}
}

// members are the nodes that have ranks.
func (j *job) members() []*node {
	var all []*node
	for _, n := range j.nodes {
		if len(n.ranks) > 0 {
			all = append(all, n)
		}
	}
	return all
}
