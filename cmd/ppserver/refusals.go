package main

import (
	"log/slog"
	"sync"
	"time"
)

// Strangers must not fill the log: so many refusals have a line each, in so long a time; the others are counted.
const (
	maxRefusals   = 20
	refusalPeriod = 10 * time.Second
)

// refusals tells of connections that were turned away.
type refusals struct {
	log *slog.Logger

	mu     sync.Mutex
	all    int       // that were turned away
	since  time.Time // when the present period began
	told   int       // in it
	untold int
}

// tell tells of one, or counts it.
func (r *refusals) tell(address, key, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.since) > refusalPeriod {
		r.flush()
	}
	r.all++
	if r.told++; r.told <= maxRefusals {
		r.log.Warn("refused", "address", address, "key", key, "why", why)
		return
	}
	r.untold++
}

// sum tells of those that were only counted, once their time is over.
func (r *refusals) sum() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.untold > 0 && time.Since(r.since) > refusalPeriod {
		r.flush()
	}
}

func (r *refusals) flush() {
	if r.untold > 0 {
		r.log.Warn("refused more", "connections", r.untold, "since", r.since)
	}
	r.since, r.told, r.untold = time.Now(), 0, 0
}
