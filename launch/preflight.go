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
	for _, n := range j.members() {
		limits := agent.Limits{}
		if n.ready != nil {
			limits = n.ready.Limits
		}
		if n.local {
			limits = agent.OwnLimits()
		}
		if why := n.lacks(limits); why != "" {
			n.failed, n.status = why, StatusFailed
			j.noteFailure()
		}
	}
	return j.settle()
}

// lacks says what the ranks of a node need and its limits do not allow; nothing if that is not certain.
func (n *node) lacks(l agent.Limits) string {
	why := l.Lack(agent.Needs(len(n.ranks), true))
	if why != "" && !n.program.linksComm() {
		why = l.Lack(agent.Needs(len(n.ranks), false))
	}
	if why == "" {
		return ""
	}
	return fmt.Sprintf("%s are too many: %s", count(len(n.ranks), "rank"), why)
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
