package launch

import (
	"cmp"
	"slices"
	"strings"
)

// state says what the job waits for.
func (j *job) state() string {
	switch {
	case j.attending:
		return j.alive()
	case j.starting:
		late := func(n *node) bool { return len(n.ranks) > 0 && n.pids == nil }
		return cmp.Or(
			j.waiting("starting ranks on", func(n *node) bool { return late(n) && !n.able }),
			j.waiting("starting ranks on", late),
		)
	}
	copying := j.waiting("copying to", func(n *node) bool { return n.size > 0 && !n.cached && n.staged == 0 })
	if copying == "" {
		copying = j.building
	}
	return cmp.Or(
		buildingAgent(),
		j.awaited(),
		copying,
		j.waiting("getting ready:", func(n *node) bool { return true }),
	)
}

// awaited says which machines have not answered.
func (j *job) awaited() string {
	return cmp.Or(
		j.waiting("connecting to", func(n *node) bool { return !n.up }),
		j.waiting("waiting for the agent on", func(n *node) bool { return n.ready == nil }),
	)
}

// waiting names the nodes of which something is true; empty if there is none.
func (j *job) waiting(what string, is func(*node) bool) string {
	var hosts []string
	for _, n := range j.nodes {
		if n.failed == "" && !n.gone && is(n) {
			hosts = append(hosts, n.host.Host)
		}
	}
	if hosts == nil {
		return ""
	}
	return what + " " + fold(hosts)
}

// alive names the ranks that run, on the first few nodes.
func (j *job) alive() string {
	var parts []string
	for _, n := range j.nodes {
		if ranks := n.alive(); len(ranks) > 0 {
			parts = append(parts, rankNames(ranks)+" on "+n.host.Host)
		}
	}
	const most = 4
	if rest := len(parts) - most; rest > 0 {
		parts = append(slices.Clip(parts[:most]), count(rest, "further node"))
	}
	return strings.Join(parts, ", ") + " still running" + j.standstill()
}
