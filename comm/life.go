package comm

import (
	"context"
	"sync"
	"time"
)

// A life is the context of one call of a function: that of a task, or of an element of a chunk. Its descendants need no
// goroutine.
type life struct {
	task    *running
	attempt byte

	ended   cause // why the context ended; mu guards it and what follows
	calling bool  // the function is running
	began   int32 // seconds of uptime, if so
	mu      sync.Mutex
	done    chan struct{} // made when somebody asks for it
	after   map[*func()]struct{}
	more    *lifeMore
}

// lifeMore is what few lives have.
type lifeMore struct {
	deadline time.Time
	timeout  *time.Timer
	child    *life    // that ends with this one
	overdue  *overdue // watches a function that ought to return
}

// A cause is why a context ended.
type cause byte

const (
	notEnded cause = iota
	canceled
	timedOut
)

func (c cause) err() error {
	switch c {
	case canceled:
		return context.Canceled
	case timedOut:
		return context.DeadlineExceeded
	}
	return nil
}

func (l *life) Deadline() (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.more == nil {
		return time.Time{}, false
	}
	return l.more.deadline, !l.more.deadline.IsZero()
}

var closedChan = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

func (l *life) Done() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done == nil {
		if l.ended != notEnded {
			return closedChan
		}
		l.done = make(chan struct{})
	}
	return l.done
}

func (l *life) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended.err()
}

func (l *life) Value(key any) any {
	switch key {
	case commKey:
		return l.task.comm
	case taskKey:
		return l.task
	case attemptKey:
		return l.attempt
	}
	return nil
}

// AfterFunc is what package context uses in place of a goroutine.
func (l *life) AfterFunc(f func()) (stop func() bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended != notEnded {
		go f()
		return func() bool { return false }
	}
	if l.after == nil {
		l.after = make(map[*func()]struct{})
	}
	l.after[&f] = struct{}{}
	return func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		_, waiting := l.after[&f]
		delete(l.after, &f)
		return waiting
	}
}

// begin says whether the function may be called; from now on it has d, if that is not 0.
func (l *life) begin(now, d time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended != notEnded {
		return false
	}
	l.calling, l.began = true, int32(now.Round(time.Second)/time.Second)
	if d > 0 {
		m := l.have()
		m.deadline = time.Now().Add(d)
		m.timeout = time.AfterFunc(d, func() { l.end(timedOut) })
	}
	return true
}

func (l *life) have() *lifeMore {
	if l.more == nil {
		l.more = new(lifeMore)
	}
	return l.more
}

// end ends the context, and watches whether the function heeds it.
func (l *life) end(why cause) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended != notEnded {
		return
	}
	l.over(why)
	if l.calling {
		l.have().overdue = l.task.watch(why)
	}
	if l.more != nil && l.more.child != nil {
		l.more.child.end(why)
	}
}

// running says whether the function is running, or one below it is, since when, and whether its context has ended.
func (l *life) running() (began time.Duration, ended cause, running bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.more != nil && l.more.child != nil {
		return l.more.child.running()
	}
	return time.Duration(l.began) * time.Second, l.ended, l.calling
}

// returned ends the context of a function that has returned.
func (l *life) returned() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calling = false
	if m := l.more; m != nil {
		if m.timeout != nil {
			m.timeout.Stop()
		}
		if m.overdue != nil {
			m.overdue.stop()
		}
	}
	if l.ended == notEnded {
		l.over(canceled)
	}
}

// over tells all who wait for the end. l.mu is held.
func (l *life) over(why cause) {
	l.ended = why
	if l.done != nil {
		close(l.done)
	}
	for f := range l.after {
		go (*f)()
	}
	l.after = nil
}

// adopt lets a life end with this one, at once if this one has ended, and says whether it has not.
func (l *life) adopt(child *life) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.have().child = child
	if l.ended != notEnded {
		child.end(l.ended)
	}
	return l.ended == notEnded
}
