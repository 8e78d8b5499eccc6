package launch

import (
	"fmt"
	"maps"
)

// adapted is what adapt made.
type adapted struct {
	platform platform
	variant  *variant
	err      error
}

// fit gives every node the program for its platform, once those that are lacking are built.
func (j *job) fit() bool {
	lacking := map[platform][]*node{} // who waits for each
	for _, n := range j.members() {
		p := n.platform()
		_, given := j.Bin[p.String()]
		switch {
		case j.program.file == "" || j.isAgent(n) || !given && j.program.header.fits(p):
			n.program = &j.program.variant
		case given || isSource(j.Target):
			lacking[p] = append(lacking[p], n)
		default:
			n.failed, n.status = j.misfit(p), StatusNotExecutable
			j.noteFailure()
		}
	}
	if !j.settle() {
		return false
	}
	if len(lacking) == 0 {
		return true
	}
	c := j.Config
	j.begun.Go(func() {
		for p, nodes := range lacking { // one go command keeps all CPUs busy
			v, err := adapt(j.ctx, &c, p, j.copied(nodes))
			j.events <- event{what: adapted{p, v, err}}
		}
	})
	for p, nodes := range lacking {
		j.building = "building " + j.Target + " for " + p.String()
		if !j.until(func() bool { return j.program.others[p] != nil }) {
			return false
		}
		for _, n := range nodes {
			if s := j.program.spool; s != nil {
				s.leave(n.index)
			}
			n.program = j.program.others[p]
		}
	}
	j.building = ""
	return true
}

// isAgent says whether the program is the executable that is the agent on a node.
func (j *job) isAgent(n *node) bool { return j.attached && !n.server && n.platform() == ownPlatform }

// misfit says why nodes of a platform cannot run the program, and what to do.
func (j *job) misfit(p platform) string {
	hint := fmt.Sprintf("add --bin %v=PATH", p)
	if j.attached {
		hint = "put it at " + p.beside(j.program.name)
	}
	h := j.program.header
	return fmt.Sprintf("%s is %s/%s, the node is %v: build it for that platform and %s", j.program.name, h.OS, h.Arch, p, hint)
}

// copied are those of the nodes that the program is copied to, by their index.
func (j *job) copied(nodes []*node) []int {
	var all []int
	for _, n := range nodes {
		if !n.local && !j.isAgent(n) {
			all = append(all, n.index)
		}
	}
	return all
}

// add takes in what adapt made.
func (p *program) add(a adapted) {
	if a.variant != nil {
		p.others[a.platform] = a.variant
	}
}

// platform is what the node's agent says; this machine's until it does.
func (n *node) platform() platform {
	if n.ready == nil {
		return ownPlatform
	}
	return platform{n.ready.OS, n.ready.Arch}
}

// copies are what is to be copied to a node, by stage ID.
func (j *job) copies(n *node) map[uint64]*spool {
	if n.late != nil {
		return n.late.spools
	}
	all := maps.Clone(j.program.files)
	if n.program != nil && n.program.spool != nil && !n.local && !j.isAgent(n) {
		all[programID] = n.program.spool
	}
	return all
}
