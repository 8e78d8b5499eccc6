package launch

import (
	"fmt"
	"slices"
	"time"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/comm/place"
	"github.com/pprun/pprun/launch/agent"
)

// A rank that lives may be stopped, or not be heard by the hub. The user is told of changes together: one line for each
// rank, or for many of a kind.
type standing struct {
	list []stand
	at   <-chan time.Time // they are told; nil: there are none
}

type stand struct {
	rank, pid int
	kind      standKind
}

type standKind int

const (
	isStopped standKind = iota
	goesOn
	isUnheard
	isHeard
	standKinds
)

// stopped is an agent's word that a process of a rank is stopped, by a signal or a debugger; pid 0: it goes on.
type stopped struct{ rank, pid int }

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
	kind := goesOn
	if s.pid != 0 {
		kind = isStopped
	}
	j.tellSoon(stand{s.rank, s.pid, kind})
}

// halted says whether a rank is stopped.
func (j *job) halted(rank int) bool { return j.lives[rank].halted != 0 }

// miss takes in how the hub hears a rank. One that it has given up is ended, if nothing else has ended it.
func (j *job) miss(hub *node, m place.Missed) {
	if hub.index != j.placement.NodeOf[0] || m.Rank <= 0 || m.Rank >= len(j.lives) || m.Incarnation != j.lives[m.Rank].incarnation {
		return
	}
	life, n := &j.lives[m.Rank], j.nodes[j.placement.NodeOf[m.Rank]]
	before := life.heard
	life.heard = m.How
	if !n.running[m.Rank] || n.gone || n.silent {
		return
	}
	switch {
	case m.How == place.GivenUp:
		n.post(message{Header: frame.Header{Kind: agent.KindGiveUp, Dst: uint32(m.Rank), ID: uint64(m.Incarnation)}})
	case m.How == place.Heard && before == place.Unheard:
		j.tellSoon(stand{m.Rank, 0, isHeard})
	case m.How == place.Unheard && 3*j.clock.Long(n.conn.Silence()) < j.HeartbeatTimeout: // else the node will be missed
		j.tellSoon(stand{m.Rank, 0, isUnheard})
	}
}

// severed says how a rank has ended because its link to the hub was given up; empty: that is not why.
func (j *job) severed(e agent.Exit) string {
	t, hub := j.HeartbeatTimeout, "rank 0 on "+j.placement.Hosts[j.placement.NodeOf[0]]
	unheard := j.lives[e.Rank].heard != place.Heard
	switch {
	case e.Hung:
		return fmt.Sprintf("hung: %s heard nothing of it for %v, and it had to be killed", hub, t)
	case e.Deaf && j.placement.NodeOf[e.Rank] == j.placement.NodeOf[0] && j.lives[0].process != nil: // no network lies between
		return fmt.Sprintf("rank 0 (pid %d) hangs: nothing was heard of it for %v", j.lives[0].process.PID, t)
	case e.Deaf && unheard:
		return fmt.Sprintf("cut off from %s: neither heard the other for %v", hub, t)
	case e.Deaf:
		return fmt.Sprintf("cut off from %s: it heard nothing of that for %v", hub, t)
	case e.Orphan && unheard:
		return fmt.Sprintf("cut off from %s, which heard nothing of it for %v", hub, t)
	}
	return ""
}

func (j *job) tellSoon(s stand) {
	if j.verdict != nil {
		return
	}
	if len(j.standing.list) == 0 {
		j.standing.at = time.After(gatherLosses)
	}
	j.standing.list = append(j.standing.list, s)
}

// tellStanding tells what has gathered.
func (j *job) tellStanding() {
	list := j.standing.list
	j.standing = standing{}
	for kind := range standKinds {
		for _, line := range j.standLines(kind, list) {
			j.say("%s", line)
		}
	}
}

// standLines makes lines of those of one kind.
func (j *job) standLines(kind standKind, list []stand) (lines []string) {
	var ranks []int
	var hosts []string
	for _, s := range list {
		if s.kind == kind {
			host := j.placement.Hosts[j.placement.NodeOf[s.rank]]
			ranks, hosts = append(ranks, s.rank), append(hosts, host)
			lines = append(lines, j.standLine(s, fmt.Sprintf("rank %d on %s", s.rank, host)))
		}
	}
	if len(ranks) < foldLosses {
		return lines
	}
	slices.Sort(ranks)
	slices.Sort(hosts)
	who := rankNames(ranks) + " on " + fold(slices.Compact(hosts))
	switch kind {
	case isStopped:
		return []string{who + " are stopped: kill -CONT their processes there lets them go on"}
	case goesOn:
		return []string{who + " go on"}
	case isUnheard:
		return []string{fmt.Sprintf("%s have not been heard of for %v", who, j.unheardTime())}
	}
	return []string{who + " are heard again"}
}

func (j *job) standLine(s stand, who string) string {
	switch s.kind {
	case isStopped:
		return fmt.Sprintf("%s (pid %d) is stopped: kill -CONT %[2]d there lets it go on", who, s.pid)
	case goesOn:
		return who + " goes on"
	case isUnheard:
		return fmt.Sprintf("%s has not been heard of for %v", who, j.unheardTime())
	}
	return who + " is heard again"
}

// unheardTime is after which the hub says that it hears nothing of a rank.
func (j *job) unheardTime() time.Duration { return j.HeartbeatTimeout * 2 / 3 }

// standstill says which ranks are stopped, for whoever wonders what the job waits for; empty: none.
func (j *job) standstill() string {
	var ranks []int
	for r := range j.lives {
		if j.halted(r) {
			ranks = append(ranks, r)
		}
	}
	switch len(ranks) {
	case 0:
		return ""
	case 1:
		return ", " + rankNames(ranks) + " is stopped"
	}
	return ", " + rankNames(ranks) + " are stopped"
}
