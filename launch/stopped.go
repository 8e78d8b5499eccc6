package launch

import (
	"fmt"
	"slices"
	"time"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/launch/agent"
)

// stopped is an agent's word that a process of a rank is stopped, by a signal or a debugger; pid 0: it goes on.
type stopped struct{ rank, pid int }

// stops are the ranks that have been stopped, or have gone on, and of which the user is told together.
type stops struct {
	list []stopped
	at   <-chan time.Time // they are told; nil: there are none
}

// halt takes in that a rank is stopped, or goes on. The others are told, who would take it for dead: the hub of any rank,
// of rank 0 all.
func (j *job) halt(n *node, s stopped) {
	if !slices.Contains(n.ranks, s.rank) || j.halted(s.rank) == (s.pid != 0) {
		return
	}
	j.lives[s.rank].halted = s.pid
	m := message{Header: frame.Header{Kind: agent.KindStopped, Src: uint32(s.rank), ID: uint64(s.pid)}}
	if s.rank != 0 {
		j.nodes[j.placement.NodeOf[0]].post(m)
	} else {
		for _, other := range j.members() {
			other.post(m)
		}
	}
	if j.verdict != nil {
		return
	}
	if len(j.stops.list) == 0 {
		j.stops.at = time.After(gatherLosses)
	}
	j.stops.list = append(j.stops.list, s)
}

// halted says whether a rank is stopped.
func (j *job) halted(rank int) bool { return j.lives[rank].halted != 0 }

// tellStops tells what has gathered.
func (j *job) tellStops() {
	list := j.stops.list
	j.stops = stops{}
	for _, line := range j.stopLines(list) {
		j.say("%s", line)
	}
}

// stopLines makes lines of stops: one for each, or for many of a kind.
func (j *job) stopLines(list []stopped) (lines []string) {
	for _, halted := range []bool{true, false} {
		var ranks, pids []int
		var hosts []string
		for _, s := range list {
			if (s.pid != 0) == halted {
				ranks, pids = append(ranks, s.rank), append(pids, s.pid)
				hosts = append(hosts, j.placement.Hosts[j.placement.NodeOf[s.rank]])
			}
		}
		if len(ranks) >= foldLosses {
			slices.Sort(ranks)
			slices.Sort(hosts)
			who := rankNames(ranks) + " on " + fold(slices.Compact(hosts))
			if halted {
				lines = append(lines, who+" are stopped: kill -CONT their processes there lets them go on")
			} else {
				lines = append(lines, who+" go on")
			}
			continue
		}
		for i, r := range ranks {
			line := fmt.Sprintf("rank %d on %s goes on", r, hosts[i])
			if halted {
				line = fmt.Sprintf("rank %d on %s (pid %d) is stopped: kill -CONT %[3]d there lets it go on", r, hosts[i], pids[i])
			}
			lines = append(lines, line)
		}
	}
	return lines
}

// standstill says which ranks are stopped, for whoever wonders what the job waits for; empty: none.
func (j *job) standstill() string {
	var ranks []int
	for r := range j.lives {
		if j.halted(r) {
			ranks = append(ranks, r)
		}
	}
	if ranks == nil {
		return ""
	}
	verb := " is stopped"
	if len(ranks) > 1 {
		verb = " are stopped"
	}
	return ", " + rankNames(ranks) + verb
}
