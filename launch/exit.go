package launch

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/pprun/pprun/comm/place"
	"github.com/pprun/pprun/launch/agent"
	"github.com/pprun/pprun/ssh"
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

// failed takes in an agent's word that it could not do what it was asked.
func (j *job) failed(n *node, f agent.Failure) {
	text := f.Text
	if f.Fix != "" {
		text += ": " + f.Fix
	}
	text = strings.ReplaceAll(text, " on "+n.host.Host, "") // settle says where, once for all nodes
	if n.late != nil && n.pids == nil {                     // see advance
		n.failed = text
		return
	}
	if n.failed == "" {
		n.failed, n.status = text, cmp.Or(f.Code, StatusFailed)
	}
	// What it has started of its ranks it ends itself; those that never ran will not tell their end.
	j.running -= len(n.running)
	clear(n.running)
	if j.program != nil {
		j.program.leaveAll(n)
	}
	j.noteFailure()
	if j.attending {
		j.settle()
	}
}

// noteFailure starts the moment within which other nodes' failures join the message.
func (j *job) noteFailure() {
	if j.failedAt.IsZero() {
		j.failedAt = time.Now()
	}
}

// settle condemns the job if a node has failed: one block names all of them, the same reason once.
func (j *job) settle() bool {
	hosts := map[string][]string{} // by reason
	var reasons []string           // in the order of the nodes
	status, bad := 0, 0
	for _, n := range j.nodes {
		if n.failed == "" {
			continue
		}
		if hosts[n.failed] == nil {
			reasons = append(reasons, n.failed)
		}
		hosts[n.failed] = append(hosts[n.failed], n.host.Host)
		status = cmp.Or(status, n.status)
		bad++
	}
	switch {
	case bad == 0:
		return j.verdict == nil
	case len(reasons) == 1:
		j.condemn(&verdict{status: status, text: fold(hosts[reasons[0]]) + ": " + reasons[0]})
	default:
		lines := []string{fmt.Sprintf("%d of %s failed:", bad, count(len(j.nodes), "node"))}
		for _, r := range reasons {
			lines = append(lines, "  "+fold(hosts[r])+": "+r)
		}
		j.condemn(&verdict{status: status, text: strings.Join(lines, "\n")})
	}
	return false
}

// nodeError is why a node cannot be reached, without its name: others may have the same reason.
func nodeError(host string, err error) string {
	if e, ok := errors.AsType[*ssh.Error](err); ok {
		text := e.Phase + ": " + e.Err.Error()
		if e.Fix != "" {
			text += ": " + e.Fix
		}
		if errors.Is(err, ssh.ErrUnknownHostKey) {
			text += ", or pass --accept-new"
		}
		return text
	}
	return strings.TrimPrefix(err.Error(), host+": ")
}

// state says what the job waits for.
func (j *job) state() string {
	waiting := func(what string, is func(*node) bool) string {
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
	switch {
	case j.attending:
		return j.alive()
	case j.starting:
		return waiting("starting ranks on", func(n *node) bool { return len(n.ranks) > 0 && n.pids == nil })
	}
	copying := waiting("copying to", func(n *node) bool { return n.size > 0 && !n.cached && n.staged == 0 })
	if copying == "" && j.program == nil {
		copying = "building " + j.Target
	}
	if copying == "" {
		copying = j.building
	}
	return cmp.Or(
		buildingAgent(),
		waiting("connecting to", func(n *node) bool { return !n.up }),
		waiting("waiting for the agent on", func(n *node) bool { return n.ready == nil }),
		copying,
		waiting("getting ready:", func(n *node) bool { return true }),
	)
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
