package launch

import (
	"cmp"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/pprun/pprun/comm/place"
	"github.com/pprun/pprun/launch/agent"
	"golang.org/x/sys/unix"
)

// exited takes in the end of a rank. The first that failed by itself is the reason for the job's end.
func (j *job) exited(n *node, e agent.Exit) {
	if !slices.Contains(n.ranks, e.Rank) {
		return
	}
	p := j.certify(n, e)
	if !n.running[e.Rank] {
		return
	}
	delete(n.running, e.Rank)
	severed := j.severed(e)
	j.lives[e.Rank].halted, j.lives[e.Rank].heard = 0, place.Heard
	j.running--
	j.out.finish(n, e.Rank)
	j.stdin.leave(e.Rank, e.StdinRead)
	if e.Rank == 0 {
		defer j.hubEnded()
		if j.attached { // it says itself how it goes on
			return
		}
	}
	deserted := e.Joined && !e.Left
	if e.Code == 0 && e.Signal == 0 && !deserted || e.Killed {
		return
	}
	l := loss{rank: e.Rank, host: n.host.Host, process: p, how: cmp.Or(severed, ending(e)), severed: severed != ""}
	if j.Output != "" {
		l.stderr = p.Stderr
	}
	if j.verdict != nil {
		j.verdict.also(j.failedRank(l, e))
		return
	}
	again := j.replaceable(e.Rank) && !j.over && j.lives[e.Rank].restarts < j.Respawn
	d := place.Death{
		Rank: e.Rank, Incarnation: e.Incarnation, Reason: l.how, Exit: e.Code, OOM: e.OOM, Stderr: e.Stderr, Final: !again,
	}
	if e.Signal != 0 {
		d.Signal = signalName(syscall.Signal(e.Signal))
	}
	j.announce(d)
	switch {
	case j.replaceable(e.Rank):
		j.replace(n, l, e, again)
	case j.OnFail == OnFailWait || j.OnFail == OnFailContinue:
		l.how += advice(e)
		j.goOn(exitStatus(e), l)
	default:
		j.condemn(&verdict{causes: []cause{j.failedRank(l, e)}, others: j.running})
	}
}

// leaveTime is what ranks that serve get to leave once rank 0 has ended, whose hub has told them to. One that was just
// started again finds no hub, and would soon say so, which nobody needs to know.
const leaveTime = 500 * time.Millisecond

// hubEnded is for when rank 0 has ended: those that served it are to leave.
func (j *job) hubEnded() {
	j.over = true
	j.respawns, j.respawnAt = nil, nil
	if j.verdict == nil && j.OnFail != OnFailAbort && !slices.ContainsFunc(j.ranksAlive(), func(r int) bool { return !j.serves(r) }) {
		j.leaveAt = time.After(leaveTime)
	}
}

// exitStatus is what a shell would make of the end of a rank.
func exitStatus(e agent.Exit) int {
	if e.Signal != 0 {
		return StatusSignal + e.Signal
	}
	return cmp.Or(e.Code, 1) // 0 is that of a rank that left the others in the lurch
}

// ending says in words how a rank ended.
func ending(e agent.Exit) string {
	if e.Signal == 0 && e.Code == 0 {
		return "exit status 0 before it had left the job"
	}
	if e.Signal == 0 {
		return fmt.Sprintf("exit status %d", e.Code)
	}
	text := fmt.Sprintf("killed by signal %d (%s", e.Signal, signalName(syscall.Signal(e.Signal)))
	if e.Core {
		text += ", core dumped"
	}
	if e.OOM {
		text += ", out of memory: it had " + sizeOf(e.MaxRSS)
	}
	if e.OOMLimit > 0 {
		text += " of " + sizeOf(e.OOMLimit)
	}
	return text + ")"
}

// advice says what to do about it.
func advice(e agent.Exit) string {
	if e.Signal == 0 && e.Code == 0 {
		return ": call comm's Close, or return from Main's function"
	}
	return ""
}

func signalName(s syscall.Signal) string {
	return cmp.Or(unix.SignalName(s), s.String())
}
