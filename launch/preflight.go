package launch

import (
	"debug/buildinfo"
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/pprun/pprun/launch/agent"
)

// preflight fails, with the numbers, what is certain not to come up: where a limit is too low, the ranks that find no room
// would otherwise be missed by those that did.
func (j *job) preflight() bool {
	hub := j.nodes[j.placement.NodeOf[0]]
	need := agent.HubNeeds(j.links(hub))
	for _, n := range j.members() {
		limits := n.limits()
		why := n.lacks(limits)
		if why == "" && n == hub && limits.Lack(need) != "" && n.program.linksComm() {
			why = fmt.Sprintf("rank 0 has to open %d files for %s on %s, its hard limit is %d: raise it (ulimit -Hn)",
				need.Files, count(j.placement.Size(), "rank"), count(len(j.members()), "node"), limits.Files)
		}
		if why != "" {
			n.failed, n.status = why, StatusFailed
			j.noteFailure()
		}
	}
	return j.settle()
}

// limits are those of the node, as far as they are known.
func (n *node) limits() agent.Limits {
	switch {
	case n.local:
		return agent.OwnLimits()
	case n.ready != nil:
		return n.ready.Limits
	}
	return agent.Limits{}
}

// directLinks is the most links that the hub has by preference: up to here a rank's own is worth what it costs, since the way
// through the agent doubles the time of a round trip.
const directLinks = 512

// links counts the links of the hub. Where they would be more than directLinks, or than its limits allow, the agents of other
// nodes connect to it, in place of their ranks, if their own limits allow.
func (j *job) links(hub *node) int {
	links := j.placement.Size() - 1
	if links <= directLinks && hub.limits().Lack(agent.HubNeeds(links)) == "" {
		return links
	}
	for _, n := range j.members() {
		if n != hub && len(n.ranks) > 1 && n.limits().Lack(agent.Needs(len(n.ranks), agent.Behind)) == "" {
			n.trunk = true
			links -= len(n.ranks) - 1
		}
	}
	return links
}

// lacks says what the ranks of a node need and its limits do not allow; nothing if that is not certain.
func (n *node) lacks(l agent.Limits) string {
	use := agent.Linked
	if n.trunk {
		use = agent.Behind
	}
	why := l.Lack(agent.Needs(len(n.ranks), use))
	if why != "" && !n.program.linksComm() {
		why = l.Lack(agent.Needs(len(n.ranks), agent.Plain))
	}
	if why == "" {
		return ""
	}
	if len(n.ranks) == 1 {
		return "one rank is too many: " + why
	}
	return fmt.Sprintf("%d ranks are too many: %s", len(n.ranks), why)
}

// linksComm says whether a program is known to link package comm, or at least to depend on its module.
func (v *variant) linksComm() bool {
	if v.file == "" {
		return false
	}
	info, err := buildinfo.ReadFile(v.file)
	if err != nil {
		return false
	}
	const ours = "github.com/pprun/pprun"
	return info.Main.Path == ours || slices.ContainsFunc(info.Deps, func(d *debug.Module) bool { return d.Path == ours })
}
