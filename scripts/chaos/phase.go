package main

import "time"

// phase is a part of a job's life, which begins when something of it can be seen.
type phase int

const (
	resolve phase = iota // pprun runs
	connect              // an sshd has let it in
	stage                // a shell or an agent runs on a host
	start                // a rank runs
	run                  // all do, and have found each other
	end                  // it has been told to end
)

func (p phase) String() string {
	return [...]string{"resolve", "connect", "stage", "start", "run", "end"}[p]
}

// length is how long it takes, more or less.
func (p phase) length() time.Duration {
	return [...]time.Duration{3, 8, 15, 10, 100, 15}[p] * time.Millisecond
}

// seen says whether the phase has begun.
func (p phase) seen(g *game) bool {
	s := &g.scene
	switch p {
	case resolve:
		return s.any(launcher)
	case connect:
		return s.any(session)
	case stage:
		return s.any(bootstrap)
	case start:
		return s.any(hub) || s.any(rank)
	default:
		return g.talks()
	}
}
