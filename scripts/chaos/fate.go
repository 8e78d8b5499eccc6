package main

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
	if g.Job == farm && g.sparesHub() {
		return livesOn
	}
	if g.Phase == end {
		return livesOn
	}
	return ends
}

// sparesHub says whether pprun and rank 0, which may not be there yet, can still speak with each other, and with others.
func (g *game) sparesHub() bool {
	host := "node1"
	if g.Head {
		host = "head"
	}
	if g.victim.host == "head" && g.Fault == cut {
		return host == "head"
	}
	return g.Victim != launcher && g.Victim != hub && host != g.victim.host
}
