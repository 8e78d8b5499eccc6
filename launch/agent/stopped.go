package agent

import (
	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/comm/place"
)

// A rank that is stopped, by a signal or a debugger, is as silent as a dead one. The agent sees the difference, and tells
// the launcher: it is missed, but not for dead. Nobody is told of what the agent itself stops (suspend).

// lookSoon has beat look for stopped ranks. It does not block.
func (a *agent) lookSoon() {
	select {
	case a.look <- struct{}{}:
	default:
	}
}

// lookForStopped tells of ranks that have been stopped, or go on, since it last looked.
func (a *agent) lookForStopped() {
	for _, r := range a.all() {
		if !r.alive() {
			continue
		}
		pid := r.stoppedProcess()
		if halted := pid != 0; !a.suspended.Load() && halted != r.halted {
			r.halted = halted
			a.conn.Send(frame.Header{Kind: KindStopped, Src: uint32(r.Rank.Rank), ID: uint64(pid)}, nil)
		}
	}
}

// stoppedProcess returns the process of a rank that is stopped, 0 if none is: the one that the agent started, or, where
// that is a wrapper, the one that has taken the seat.
func (r *rank) stoppedProcess() int {
	pid, holder := int(r.pid.Load()), r.seat.holder()
	if holder != 0 && holder != pid && stopped(holder) {
		return holder
	}
	if stopped(pid) {
		return pid
	}
	return 0
}

// tellStopped tells ranks here that another one is stopped, or goes on: rank 0, or of rank 0 all.
func (a *agent) tellStopped(rank int, halted bool) {
	if rank != 0 {
		a.bulletin.add(func(k *place.Asker) error { return k.TellStopped(rank, halted) })
		return
	}
	a.hubHalted.Store(halted)
	for _, r := range a.all() {
		if r.Rank.Rank != 0 {
			r.seat.tell(func(k *place.Asker) { k.TellStopped(rank, halted) })
		}
	}
}
