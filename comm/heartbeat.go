package comm

import (
	"fmt"
	"sync"
	"time"

	"github.com/pprun/pprun/comm/frame"
)

// Hub and ranks exchange heartbeats, as frame.Clock has it. They are an affair of the link: of which rank something came
// does not matter, and whoever reads or writes is not asked. A goroutine of its own sends them, so that a rank whose
// functions keep all its processors busy goes on beating.

// A heart beats for links, and gives those up whose other end is dead.
type heart struct {
	timeout time.Duration
	links   func() []*link // that there are now
	judge   judge
	stop    chan struct{}
	work    sync.WaitGroup
}

// A judge knows more of the other ends of links than whether something comes from them.
type judge struct {
	excuses func(l *link) bool                 // it is known to live though nothing can come from it
	hear    func(l *link, before, now hearing) // it is heard in another way than before
}

// hearing is how well the other end of a link is heard.
type hearing int

const (
	heard   hearing = iota
	missed          // nothing has come for a third of the timeout
	unheard         // for two thirds
	dead            // for the timeout: the link is given up
)

// startHeart starts a heart; without a timeout it does nothing.
func startHeart(timeout time.Duration, links func() []*link, j judge) *heart {
	h := &heart{timeout: timeout, links: links, judge: j, stop: make(chan struct{})}
	if timeout > 0 {
		h.work.Go(h.run)
	}
	return h
}

// end ends it.
func (h *heart) end() {
	close(h.stop)
	h.work.Wait()
}

func (h *heart) run() {
	clock := frame.NewClock(h.timeout)
	defer clock.Stop()
	beat := time.NewTicker(frame.Interval(h.timeout))
	defer beat.Stop()
	for {
		select {
		case <-h.stop:
			return
		case <-beat.C:
			for _, l := range h.links() {
				l.beat()
			}
		case <-clock.C:
			clock.Tick()
			for _, l := range h.links() {
				h.listen(clock, l)
			}
		}
	}
}

// listen gives a link up whose other end is dead.
func (h *heart) listen(clock *frame.Clock, l *link) {
	silence := l.reader.Silence()
	over := clock.Dead(silence)
	switch {
	case clock.Late(silence) && h.judge.excuses(l):
		silence.Break()
	case over:
		if h.note(l, dead) {
			l.giveUp(fmt.Sprintf("nothing was heard of it for %v", h.timeout))
		}
	case l.hearing < dead: // else its reader is about to end
		h.note(l, min(unheard, hearing(3*clock.Long(silence)/h.timeout)))
	}
}

// note notes how the other end of a link is heard. It says whether that has changed.
func (h *heart) note(l *link, now hearing) bool {
	before := l.hearing
	if l.hearing = now; now == before {
		return false
	}
	h.judge.hear(l, before, now)
	return true
}

// beat lets the other end know that this one lives, unless something else does.
func (l *link) beat() {
	l.mu.Lock()
	idle := !l.spoke && !l.writing
	l.spoke = false
	l.mu.Unlock()
	if idle {
		l.send(frame.Header{Kind: kindBeat}, nil)
		l.flush()
	}
}

// giveUp closes a link whose other end may know nothing of it. Its reader ends, and says why.
func (l *link) giveUp(why string) {
	l.mu.Lock()
	first := l.gaveUp == ""
	if first {
		l.gaveUp = why
	}
	l.mu.Unlock()
	if first {
		l.conn.Close()
	}
}

// reason returns why the link was given up, empty if it was not.
func (l *link) reason() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gaveUp
}
