package main

import "slices"

// fate is what must become of a job.
type fate int

const (
	livesOn fate = iota // until it is let end, or by itself if it has to
	ends                // by itself
	hangs               // until somebody ends it: what is stopped may go on any time
	frozen              // it ends everywhere but for pprun itself, which is stopped
)

// fate says what must become of the job.
func (g *game) fate() fate {
	undone := g.For > 0 && (g.For < g.config.silence() || g.Phase < run) // before, there may be nobody yet who misses it
	retried := g.Victim == session && g.Phase <= stage
	if g.victim == nil || undone || retried || g.Phase == end && g.Fault != stop {
		return livesOn
	}
	switch g.Victim {
	case guard, grandchild:
		return livesOn
	case launcher:
		if g.Fault == stop && g.For == 0 {
			return frozen
		}
	case hub, rank:
		switch {
		case g.Fault == stop && g.For == 0:
			return hangs
		case g.Fault == stop || g.Victim == rank && g.Job == farm:
			return livesOn
		}
	}
	if g.Job == farm && g.spares(hub) {
		return livesOn
	}
	if g.Phase == end {
		return livesOn
	}
	return ends
}

// spares says whether pprun and a process of that role can still speak with each other, and with others.
func (g *game) spares(v victim) bool {
	at := slices.IndexFunc(g.scene.processes, v.is)
	if at < 0 {
		return false
	}
	host := g.scene.processes[at].host
	if g.victim.host == "head" && g.Fault == cut {
		return host == "head"
	}
	return g.Victim != launcher && g.Victim != v && host != g.victim.host
}
