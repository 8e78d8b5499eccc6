package agent

import (
	"sync"
	"syscall"
	"time"
)

// ender ends the job's processes on this node: TERM, grace, KILL.
type ender struct {
	a      *agent
	orders chan time.Duration
	first  chan struct{} // closed at the first of them
	over   chan struct{} // closed when nothing is left to end
	work   sync.WaitGroup

	mu       sync.Mutex
	deadline time.Time // of KILL; zero: nothing is being ended
}

func newEnder(a *agent) *ender {
	e := &ender{a: a, orders: make(chan time.Duration, 8), first: make(chan struct{}), over: make(chan struct{})}
	e.work.Go(e.run)
	return e
}

// end orders the end. A second order may only make it sooner. It does not wait.
func (e *ender) end(grace time.Duration) {
	e.mu.Lock()
	first, deadline := e.deadline.IsZero(), time.Now().Add(grace)
	if first || deadline.Before(e.deadline) {
		e.deadline = deadline
	}
	e.mu.Unlock()
	if first {
		close(e.first)
		for _, r := range e.a.all() {
			if r.alive() && !exiting(int(r.pid.Load())) { // else it is its own end, which others may have failed for
				r.killed.Store(true)
			}
		}
	}
	select {
	case e.orders <- grace:
	default:
	}
}

// begun says whether the end has been ordered: no further rank is started.
func (e *ender) begun() bool { return !e.killTime().IsZero() }

func (e *ender) killTime() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.deadline
}

// run signals. From the deadline on it kills again and again, because processes may be born meanwhile.
func (e *ender) run() {
	const again = 20 * time.Millisecond
	var terminated bool
	var kill <-chan time.Time
	for {
		select {
		case <-e.over:
			return
		case grace := <-e.orders:
			if !terminated && grace > 0 {
				e.a.signalAll(syscall.SIGTERM)
				e.a.signalAll(syscall.SIGCONT) // a stopped process hears TERM only then
			}
			terminated = true
			kill = time.After(time.Until(e.killTime()))
		case <-kill:
			if kill = nil; e.a.left() {
				e.a.group.kill()
				e.a.signalAll(syscall.SIGKILL)
				kill = time.After(again)
			}
		}
	}
}

// close ends run.
func (e *ender) close() {
	close(e.over)
	e.work.Wait()
}

// giveUp is how long after KILL a process may go on before the agent leaves it to the system.
const giveUp = 5 * time.Second

// finish ends what is left of the job and removes its traces. It returns when all is done or cannot be done.
func (a *agent) finish(lost bool) Done {
	if lost {
		grace := a.hello.Grace
		if a.cfg.Grace > 0 {
			grace = min(grace, a.cfg.Grace)
		}
		a.ender.end(grace)
	}
	if a.ranks == nil {
		close(a.started)
	}
	a.die()
	a.waitRanks()
	if a.left() && !a.ender.begun() {
		a.ender.end(a.hello.Grace)
	}
	wait := time.Millisecond
	for a.left() && time.Until(a.ender.killTime()) > -giveUp {
		time.Sleep(wait)
		wait = min(2*wait, 50*time.Millisecond)
	}
	a.ender.close()
	a.unseat()
	done := a.dirs.remove()
	a.group.remove()
	a.guard.dismiss()
	return done
}

// waitRanks waits until every rank has ended and its end is told.
func (a *agent) waitRanks() {
	told := make(chan struct{})
	go func() {
		a.work.Wait()
		close(told)
	}()
	for {
		select {
		case <-told:
			return
		case <-time.After(time.Second):
		}
		if at := a.ender.killTime(); !at.IsZero() && time.Until(at) < -giveUp {
			return // a process that even KILL does not end
		}
	}
}
