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
	wake chan struct{} // a child was born

	mu       sync.Mutex
	children map[int]watcher // by pid, those that somebody waits for
	births   int             // calls of starting not yet done
	early    map[int]ending  // ended before expect was called; nil while nobody is being started
}

// watcher hears of one child. Neither function may block for long; stopped, called when it is stopped or goes on, may be
// nil.
type watcher struct {
	ended   func(ending)
	stopped func()
}

func newReaper() *reaper {
	r := &reaper{wake: make(chan struct{}, 1), children: map[int]watcher{}}
	go r.run() // for the life of the process, as Serve says
	return r
}

// run reaps. It is the only place that waits for processes.
func (r *reaper) run() {
	for {
		var e ending
		pid, err := syscall.Wait4(-1, &e.status, syscall.WUNTRACED|syscall.WCONTINUED, &e.usage)
		switch {
		case err == syscall.EINTR:
		case err != nil: // no child at all
			<-r.wake
		case e.status.Stopped() || e.status.Continued():
			r.mu.Lock()
			stopped := r.children[pid].stopped
			r.mu.Unlock()
			if stopped != nil {
				stopped()
			}
		default:
			r.ended(pid, e)
		}
	}
}

func (r *reaper) ended(pid int, e ending) {
	r.mu.Lock()
	ended := r.children[pid].ended
	delete(r.children, pid)
	if ended == nil && r.early != nil {
		r.early[pid] = e
	}
	r.mu.Unlock()
	if ended != nil {
		ended(e)
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

// expect makes w hear of the child; at once if it has already ended.
func (r *reaper) expect(pid int, w watcher) {
	r.mu.Lock()
	e, over := r.early[pid]
	if over {
		delete(r.early, pid)
	} else {
		r.children[pid] = w
	}
	r.mu.Unlock()
	if over {
		w.ended(e)
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}
