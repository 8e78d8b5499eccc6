package agent

import (
	"sync"
	"syscall"
)

// ending is how a process ended.
type ending struct {
	status syscall.WaitStatus
	usage  syscall.Rusage
}

// reaper waits for every child of this process, adopted ones too, with one thread for all.
type reaper struct {
	stopped func(pid int, s syscall.Signal)
	wake    chan struct{} // a child was born

	mu       sync.Mutex
	children map[int]func(ending) // by pid, those that somebody waits for
	births   int                  // calls of starting not yet done
	early    map[int]ending       // ended before expect was called; nil while nobody is being started
}

func newReaper(stopped func(pid int, s syscall.Signal)) *reaper {
	r := &reaper{stopped: stopped, wake: make(chan struct{}, 1), children: map[int]func(ending){}}
	go r.run() // for the life of the process, as Serve says
	return r
}

// run reaps. It is the only place that waits for processes.
func (r *reaper) run() {
	for {
		var e ending
		pid, err := syscall.Wait4(-1, &e.status, syscall.WUNTRACED, &e.usage)
		switch {
		case err == syscall.EINTR:
		case err != nil: // no child at all
			<-r.wake
		case e.status.Stopped():
			r.stopped(pid, e.status.StopSignal())
		default:
			r.ended(pid, e)
		}
	}
}

func (r *reaper) ended(pid int, e ending) {
	r.mu.Lock()
	f := r.children[pid]
	delete(r.children, pid)
	if f == nil && r.early != nil {
		r.early[pid] = e
	}
	r.mu.Unlock()
	if f != nil {
		f(e)
	}
}

// starting keeps the endings of unknown children until done is called, so that expect may come after the end.
func (r *reaper) starting() (done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.births++; r.births == 1 {
		r.early = map[int]ending{}
	}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.births--; r.births == 0 {
			r.early = nil
		}
	}
}

// expect calls f, which must not block, when the child has ended; at once if it already has.
func (r *reaper) expect(pid int, f func(ending)) {
	r.mu.Lock()
	e, over := r.early[pid]
	if over {
		delete(r.early, pid)
	} else {
		r.children[pid] = f
	}
	r.mu.Unlock()
	if over {
		f(e)
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}
