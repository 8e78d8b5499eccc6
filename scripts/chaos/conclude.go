package main

import (
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/pprun/pprun/scripts/lab/labtest"
	"golang.org/x/sys/unix"
)

// release lets the job end in order.
func (g *game) release() {
	if g.stdin == nil {
		return
	}
	g.stdin.Close()
	g.stdin = nil
	g.note("the job may end")
	if !g.Job.obeys() {
		g.order()
	}
}

// order ends the job by TERM.
func (g *game) order() {
	g.ordered, g.last = true, time.Now()
	g.note("TERM to pprun")
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
			g.stuck("the job goes on")
			g.order()
		}
	case hangs:
		if !g.endsWithin(300 * time.Millisecond) {
			g.order()
		}
	case frozen:
		g.clean(func(p *process) bool { // it cannot reap, either
			return launcher.is(p) || p.State == 'Z' && p.PPid == g.victim.Pid && p.host == g.victim.host || g.spared(p)
		})
		g.slain, g.last = true, time.Now()
		g.victim.signal(unix.SIGKILL)
		g.wake()
	default:
		g.release()
		if !g.endsWithin(loss) {
			g.stuck("the job does not end when it may")
			g.order()
		}
	}
	if !g.endsWithin(limit) {
		g.stuck("pprun does not end")
	}
}

// clean waits until nothing is left but what is spared.
func (g *game) clean(spared func(*process) bool) {
	if g.last.IsZero() {
		g.last = time.Now()
	}
	for {
		left := g.before.left(g.lab, spared)
		if !g.slain { // else all but pprun itself was clean before
			g.out.Clean = time.Since(g.last)
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(g.due()) {
			g.leave(left, spared)
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// due is when nothing may be left any more.
func (g *game) due() time.Time {
	due := g.last.Add(limit)
	if g.over() && g.end.Add(behind).After(due) {
		return g.end.Add(behind)
	}
	return due
}

// leave takes down what is left behind, and whether it goes by itself later.
func (g *game) leave(left []string, spared func(*process) bool) {
	g.wrong("left behind:\n    %s", strings.Join(left, "\n    "))
	stay := func() []*process { return slices.DeleteFunc(look(g.lab, g.before.processes), spared) }
	g.examine(stay())
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if len(g.before.left(g.lab, spared)) == 0 {
			g.note("all of that is gone by itself")
			return
		}
	}
	g.examine(stay())
	dump(stay())
	g.endsWithin(time.Second)
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
	g.out.Diary, g.out.Evidence = g.diary.String(), g.evidence.String()
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
