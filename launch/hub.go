package launch

import (
	"net"
	"slices"
	"time"

	"github.com/pprun/pprun/launch/agent"
)

// listen opens the hub's port on the node of rank 0 where ranks of other nodes have to reach it.
func (j *job) listen() bool {
	if len(j.members()) < 2 && !j.open {
		return true
	}
	if !j.all(func(n *node) bool { return n.ready != nil }) {
		return false
	}
	j.warnTwins()
	hub := j.nodes[j.placement.NodeOf[0]]
	hub.sendValue(agent.KindListen, 0, agent.Listen{Addresses: j.candidates(hub)})
	if !j.until(func() bool { return hub.listening != nil || hub.failed != "" }) || !j.settle() {
		return false
	}
	var err error
	if j.authority, err = newAuthority(j.id, time.Now()); err != nil {
		j.fail(err)
	}
	return j.verdict == nil
}

// candidates are the addresses at which other nodes are most likely to reach the hub's node, which adds its own others:
// the one by which we reached it, or, where it is this machine, those by which it reached the others.
func (j *job) candidates(hub *node) []string {
	if !hub.local {
		return []string{hub.ready.Reached}
	}
	var all []string
	for _, n := range j.members() {
		if n.addr == nil {
			continue
		}
		if host, _, err := net.SplitHostPort(n.addr.String()); err == nil && !slices.Contains(all, host) {
			all = append(all, host)
		}
	}
	return all
}
