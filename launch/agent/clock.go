package agent

import (
	"cmp"
	"fmt"
	"sync"
	"time"

	"github.com/pprun/pprun/comm/frame"
)

// timeout is how long the other end of a link may be silent.
func (a *agent) timeout() time.Duration {
	return cmp.Or(time.Duration(a.heartbeat.Load()), frame.Timeout)
}

// expectBeats sets it, and has the agent beat accordingly from now on.
func (a *agent) expectBeats(timeout time.Duration) {
	a.heartbeat.Store(int64(timeout))
	a.lookSoon()
}

// clock beats, and takes the launcher for lost when it has been silent. A suspended launcher sends no beats, and is not
// missed. What hello says of time counts from the next tick on.
func (a *agent) clock(stop <-chan struct{}) {
	var beats sync.WaitGroup
	defer beats.Wait()
	beats.Go(func() { a.beat(stop) })
	timeout := a.timeout()
	clock := frame.NewClock(timeout)
	defer func() { clock.Stop() }()
	silence := a.conn.Silence()
	for {
		select {
		case <-stop:
			return
		case <-clock.C:
		}
		if t := a.timeout(); t != timeout {
			clock.Stop()
			timeout, clock = t, frame.NewClock(t)
			continue
		}
		clock.Tick()
		a.trunk.listen(clock, a.suspended.Load() || a.hubHalted.Load())
		if a.suspended.Load() {
			silence.Break()
		} else if clock.Dead(silence) {
			a.lost(fmt.Errorf("the launcher is silent for %v", timeout))
			return
		}
	}
}

// beat tells that this agent lives, and which of its ranks are stopped. It does so twice in an interval: where the network
// carries one direction only, the first beat after that still arrives, and silence begins there. It may block in Send, so
// it is apart from the clock.
func (a *agent) beat(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-a.look:
			a.lookForStopped()
			continue
		case <-time.After(frame.Interval(a.timeout()) / 2):
		}
		if !a.suspended.Load() {
			a.lookForStopped()
			a.conn.Send(frame.Header{Kind: KindBeat}, nil)
		}
	}
}
