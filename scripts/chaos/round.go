package main

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Round is what one round does. All of it is drawn before it begins.
type Round struct {
	Number int
	Job    job
	Head   bool // ranks run on the launcher's machine, too
	Cold   bool // nothing is in the caches

	Phase  phase
	Victim victim
	Which  int           // of several victims
	After  time.Duration // from when the phase is seen to the fault
	Fault  fault
	For    time.Duration // the fault is undone after so long; 0: it is not
}

func (r Round) String() string {
	s := fmt.Sprintf("round %d: %s, %v after %s: %s %s", r.Number, r.Job, r.After, r.Phase, r.Fault, r.Victim)
	if r.For > 0 {
		s += fmt.Sprintf(", undone after %v", r.For)
	}
	if r.Head {
		s += ", ranks on head"
	}
	if r.Cold {
		s += ", empty caches"
	}
	return s
}

// choose draws a round.
func choose(c Config, number int) Round {
	rng := rand.New(rand.NewPCG(c.Seed, uint64(number)))
	r := Round{Number: number, Job: pick(rng, jobs), Head: rng.IntN(2) == 0, Cold: rng.IntN(4) == 0}
	r.Phase = pick(rng, []phase{resolve, connect, stage, start, start, run, run, run, end, end})
	r.Victim = pick(rng, victimsIn(r.Phase, r.Job))
	r.Which = rng.IntN(1000)
	r.After = time.Duration(rng.ExpFloat64() * float64(r.Phase.length())).Round(time.Millisecond / 10)
	r.Fault = pick(rng, faultsOf(r.Victim))
	short, long := 300*time.Millisecond, c.silence()+2*time.Second
	switch {
	case r.Fault == stop || r.Fault == cut:
		r.For = pick(rng, []time.Duration{0, 0, short, long})
	}
	return r
}

func pick[T any](rng *rand.Rand, from []T) T { return from[rng.IntN(len(from))] }
