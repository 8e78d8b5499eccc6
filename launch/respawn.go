package launch

import (
	"fmt"
	"slices"
	"time"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/comm/place"
	"github.com/pprun/pprun/launch/agent"
)

// A rank that dies is started again after firstDelay, and after twice the time, up to lastDelay, for each that did not
// live for settled: a process that cannot live must not keep its node busy with dying.
const (
	firstDelay = 100 * time.Millisecond
	lastDelay  = 5 * time.Second
	settled    = 10 * time.Second
)

// respawn is a rank to be started again.
type respawn struct {
	node *node
	rank int
	at   time.Time
}

// What comes of a loss, in words.
const (
	redone     = "tasks are redone elsewhere"
	othersGoOn = "the others go on"
)

// replace takes in the loss of a rank whose tasks are redone.
func (j *job) replace(n *node, l loss, e agent.Exit, again bool) {
	life := &j.lives[e.Rank]
	if j.over {
		j.outlive(l, e)
		return
	}
	if e.Wall >= settled {
		life.short = 0
	}
	if again {
		life.incarnation++
		life.restarts++
		l.quiet = true
		l.then = fmt.Sprintf("its tasks are redone, started again (%d of %d)", life.restarts, j.Respawn)
		l.thens = "their tasks are redone, started again"
		j.schedule(respawn{n, e.Rank, time.Now().Add(min(firstDelay<<min(life.short, 10), lastDelay))})
		life.short++
	} else {
		l.then, l.thens = "its "+redone, "their "+redone
		if j.Respawn > 0 {
			given := ", not started again after " + count(j.Respawn, "time")
			l.then, l.thens = l.then+given, l.thens+given
		}
	}
	j.noteIfWaiting(exitStatus(e), &l.process.RootCause)
	j.tell(l)
}

// outlive takes in the end of a rank that served a rank 0 that has ended. One that had been started again may have come
// too late to find a hub.
func (j *job) outlive(l loss, e agent.Exit) {
	if e.Incarnation > 0 {
		return
	}
	j.noteIfWaiting(exitStatus(e), &l.process.RootCause)
	l.then, l.thens, l.quiet = "its work was done", "their work was done", j.OnFail != OnFailWait
	j.tell(l)
}

// note notes the status of a failure that does not end the job. The first is the root cause.
func (j *job) note(status int, root *bool) {
	if j.status == 0 {
		j.status, *root = status, true
	}
}

// noteIfWaiting notes the status of a rank whose tasks are redone.
func (j *job) noteIfWaiting(status int, root *bool) {
	if j.OnFail == OnFailWait {
		j.note(status, root)
	}
}

// goOn takes in the failure of a rank that the others are to survive.
func (j *job) goOn(status int, l loss) {
	j.note(status, &l.process.RootCause)
	if j.running > 0 {
		l.then, l.thens = othersGoOn, othersGoOn
	}
	j.tell(l)
}

// schedule puts a respawn off to its time.
func (j *job) schedule(r respawn) {
	i := 0
	for i < len(j.respawns) && !j.respawns[i].at.After(r.at) {
		i++
	}
	j.respawns = slices.Insert(j.respawns, i, r)
	j.respawnAt = time.After(time.Until(j.respawns[0].at))
}

// orderRespawns orders those that are due.
func (j *job) orderRespawns() {
	j.respawnAt = nil
	for len(j.respawns) > 0 {
		r := j.respawns[0]
		if wait := time.Until(r.at); wait > 0 {
			j.respawnAt = time.After(wait)
			return
		}
		j.respawns = j.respawns[1:]
		r.node.running[r.rank] = true
		j.running++
		r.node.post(message{Header: frame.Header{
			Kind: agent.KindRespawn, Dst: uint32(r.rank), ID: uint64(j.lives[r.rank].incarnation),
		}})
	}
}

// respawned takes in the answer to a respawn: one that failed is not tried again.
func (j *job) respawned(n *node, r agent.Respawned) {
	if !n.running[r.Rank] {
		return
	}
	if r.PID != 0 {
		j.born(n, r.Rank, r.PID)
		return
	}
	delete(n.running, r.Rank)
	j.running--
	if j.verdict != nil || j.over {
		return
	}
	how := "cannot be started again: " + r.Failure
	j.announce(place.Death{Rank: r.Rank, Incarnation: j.lives[r.Rank].incarnation, Reason: how, Exit: -1, Final: true})
	j.tell(loss{rank: r.Rank, host: n.host.Host, how: how, then: "its " + redone, thens: "their " + redone})
}

// announce lets rank 0 know of a death, which its hub cannot tell from a broken connection.
func (j *job) announce(d place.Death) {
	if hub := j.nodes[j.placement.NodeOf[0]]; d.Rank != 0 && !hub.gone && !j.over {
		hub.sendValue(agent.KindDeath, 0, d)
	}
}

// ranksAlive are the ranks of all nodes that have not ended.
func (j *job) ranksAlive() (all []int) {
	for _, n := range j.nodes {
		all = append(all, n.alive()...)
	}
	return all
}
