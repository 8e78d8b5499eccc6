package main

import (
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/pprun/pprun/scripts/lab/labtest"
	"golang.org/x/sys/unix"
)

const (
	limit    = 20 * time.Second // after the last that was done to it nothing may be left of a job
	patience = 40 * time.Second // a job gets to come to a phase
	glance   = 3 * time.Millisecond
	slots    = 2 // of each host
)

// game is one round being played.
type game struct {
	Round
	config Config
	lab    *labtest.Lab
	before before
	cmd    *exec.Cmd
	stdin  io.Closer
	stdout text
	stderr text
	ended  chan struct{} // closed when pprun has ended

	scene   scene    // as it was last seen
	victim  *process // nil: it was not to be found
	undo    func()   // what was done to it; nil: cannot be undone
	ordered bool     // pprun was sent TERM
	slain   bool     // pprun was stopped, and killed in the end
	last    time.Time
	out     *Outcome
}

// play plays a round.
func play(lab *labtest.Lab, c Config, r Round) Outcome {
	out := Outcome{Round: r}
	t := &trouble{}
	t.watch(func() {
		g := &game{Round: r, config: c, lab: lab.For(t), out: &out, ended: make(chan struct{})}
		defer g.restore()
		g.play()
	})
	out.Wrong = append(out.Wrong, t.errors...)
	return out
}

func (g *game) play() {
	if g.Cold {
		emptyCaches(g.lab)
	}
	g.before = remember(g.lab)
	g.begin()
	if g.await() {
		g.strike()
	}
	g.conclude()
	g.judge()
	g.clean()
}

// wrong takes down what must not be.
func (g *game) wrong(format string, args ...any) {
	g.out.Wrong = append(g.out.Wrong, fmt.Sprintf(format, args...))
}

// begin starts pprun.
func (g *game) begin() {
	var list []string
	for _, h := range hosts() {
		if h != "head" || g.Head {
			list = append(list, fmt.Sprintf("%s:%d", h, slots))
		}
	}
	g.scene.ranks = slots * len(list)
	flags, argv := g.Job.command()
	flags = append(flags, "--host", strings.Join(list, ","), "--grace", "1s")
	if g.config.Heartbeat > 0 {
		flags = append(flags, "--heartbeat-timeout", g.config.Heartbeat.String())
	}
	g.cmd = g.lab.Exec("head", "/shared/pprun", append(flags, argv...)...)
	g.cmd.Stdout, g.cmd.Stderr, g.cmd.WaitDelay = &g.stdout, &g.stderr, time.Second
	stdin, err := g.cmd.StdinPipe()
	if err == nil {
		err = g.cmd.Start()
	}
	if err != nil {
		g.wrong("start pprun: %v", err)
		close(g.ended)
		return
	}
	g.stdin = stdin
	go func() {
		g.cmd.Wait()
		close(g.ended)
	}()
}

// over says whether pprun has ended.
func (g *game) over() bool {
	select {
	case <-g.ended:
		return true
	default:
		return false
	}
}

func (g *game) endsWithin(d time.Duration) bool {
	select {
	case <-g.ended:
		return true
	case <-time.After(d):
		return false
	}
}

// await waits for the phase. It returns false when the job has ended before.
func (g *game) await() bool {
	for end := time.Now().Add(patience); ; time.Sleep(glance) {
		g.look()
		if g.Phase.seen(g) {
			break
		}
		if g.over() {
			g.wrong("pprun has ended by itself")
			return false
		}
		if time.Now().After(end) {
			g.wrong("the job does not come to its phase")
			return false
		}
	}
	if g.Phase == end {
		g.release()
	}
	time.Sleep(g.After)
	return true
}

func (g *game) look() { g.scene.processes = look(g.lab, g.before.processes) }

// talks says whether all ranks are there, and have found each other where they look.
func (g *game) talks() bool {
	there := g.scene.count(hub)+g.scene.count(rank) == g.scene.ranks
	return there && (g.Job != farm || strings.Contains(g.stdout.String(), "slots\n"))
}

// strike looks for the victim and does what is to be done. In the end of a job it may come too late.
func (g *game) strike() {
	for end := time.Now().Add(time.Second); ; time.Sleep(glance) {
		g.look()
		if g.pick() {
			break
		}
		if g.over() || time.Now().After(end) {
			return
		}
	}
	g.last = time.Now()
	undo, err := g.Fault.hit(g.lab, g.victim)
	if err != nil { // it has just gone
		g.victim = nil
		return
	}
	g.undo = undo
	g.out.Hit = true
	if g.For > 0 {
		time.Sleep(g.For)
		g.heal()
	}
}

// pick picks the victim, if it is there. An agent that is stopped for good before it has a guard has no rank, nor any
// place but its own, and nobody knows of it: that is the one thing that pprun may leave.
func (g *game) pick() bool {
	found := g.scene.all(g.Victim)
	if g.Victim == agentProc && g.Fault == stop && g.For == 0 {
		found = slices.DeleteFunc(found, func(p *process) bool {
			return !slices.ContainsFunc(g.scene.all(guard), func(q *process) bool { return q.parent == p })
		})
	}
	if len(found) == 0 {
		return false
	}
	slices.SortFunc(found, func(a, b *process) int { return strings.Compare(a.key(), b.key()) })
	g.victim = found[g.Which%len(found)]
	return true
}

func (g *game) heal() {
	if g.undo != nil {
		g.undo()
		g.undo = nil
		g.wake()
		g.last = time.Now()
	}
}

// wake continues the lab's process outside, which stops with pprun, but does not go on with it.
func (g *game) wake() { g.cmd.Process.Signal(syscall.SIGCONT) }

// release lets the job end in order.
func (g *game) release() {
	if g.stdin == nil {
		return
	}
	g.stdin.Close()
	g.stdin = nil
	if !g.Job.obeys() {
		g.order()
	}
}

// order ends the job by TERM.
func (g *game) order() {
	g.ordered = true
	labtest.Signal(g.cmd, syscall.SIGTERM) // in vain if it has just ended
}

// conclude brings the job to its end.
func (g *game) conclude() {
	loss := g.config.silence() + 6*time.Second
	if g.Phase < run { // logins and first answers have limits of their own
		loss = patience
	}
	switch g.fate() {
	case ends:
		if !g.endsWithin(loss) {
			g.wrong("the job goes on")
			g.order()
		}
	case hangs:
		if !g.endsWithin(300 * time.Millisecond) {
			g.last = time.Now()
			g.order()
		}
	case frozen:
		for end := time.Now().Add(limit); len(g.before.left(g.lab, func(p *process) bool { return g.spared(p) || launcher.is(p) })) > 0; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				break // clean will tell
			}
		}
		g.slain = true
		g.last = time.Now()
		g.victim.signal(unix.SIGKILL)
		g.wake()
	default:
		g.release()
		if !g.endsWithin(loss) {
			g.wrong("the job does not end when it may")
			g.order()
		}
	}
	if !g.endsWithin(limit) {
		g.wrong("pprun does not end")
	}
}

// clean waits until nothing is left.
func (g *game) clean() {
	if g.last.IsZero() {
		g.last = time.Now()
	}
	for {
		left := g.before.left(g.lab, g.spared)
		if len(left) == 0 {
			g.out.Clean = time.Since(g.last)
			return
		}
		if time.Since(g.last) > limit {
			g.wrong("left behind:\n    %s", strings.Join(left, "\n    "))
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// spared are processes that may stay where sshd cannot know that its client is gone, or cannot act: its own, and the shell
// that had not yet become an agent.
func (g *game) spared(p *process) bool {
	if !g.out.Hit || g.Fault == kill {
		return false
	}
	for ; p != nil; p = p.parent {
		if session.is(p) {
			return true
		}
		if agentProc.is(p) {
			return false
		}
	}
	return false
}

// restore makes the lab what it was before.
func (g *game) restore() {
	g.out.Tree = g.scene.tree()
	g.out.Stdout, g.out.Stderr = g.stdout.String(), g.stderr.String()
	if g.Fault == cut {
		g.heal()
	}
	if g.Fault == power && g.victim != nil {
		g.lab.Host(g.victim.host).Boot()
	}
	if !g.Fault.local() {
		for _, h := range hosts()[1:] { // the first try may meet what the kernel remembers of the time without it
			g.lab.Output("head", "bash", "-c", "until (exec 3<>/dev/tcp/"+h+"/22) 2>/dev/null; do sleep 0.1; done")
		}
	}
	g.wake()
	for end := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		left := look(g.lab, g.before.processes)
		if len(left) == 0 {
			break
		}
		if time.Now().After(end) {
			g.wrong("not even SIGKILL ends %v", left)
			break
		}
		for _, p := range left {
			p.signal(unix.SIGKILL)
		}
	}
	g.before.removeFiles(g.lab)
}
