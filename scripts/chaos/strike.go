package main

import (
	"slices"
	"strings"
	"syscall"
	"time"
)

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
			g.stuck("the job does not come to its phase")
			return false
		}
	}
	g.note("%s is seen", g.Phase)
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
	g.note("%s %s", g.Fault, g.victim)
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
		g.note("undone")
	}
}

// wake continues the lab's process outside, which stops with pprun, but does not go on with it.
func (g *game) wake() { g.cmd.Process.Signal(syscall.SIGCONT) }
