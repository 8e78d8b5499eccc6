package frame

import (
	"io"
	"sync/atomic"
	"time"
)

// Both ends of a link let each other know that they live: every Interval they send something, a beat if nothing else, and
// one of whom not a byte has come for the timeout is taken for dead. Time is counted in ticks that the listener itself
// lives through, since one who was stopped, or got no processor, must first read what came meanwhile.

// Timeout is how long the other end of a link may be silent, unless somebody says otherwise.
const Timeout = 15 * time.Second

// tickOf is the grain in which silence is measured.
func tickOf(timeout time.Duration) time.Duration { return min(time.Second, timeout/15) }

// Interval is how often the ends of a link send something.
func Interval(timeout time.Duration) time.Duration { return 2 * tickOf(timeout) }

// Silence is how long nothing has come from the other end of a link. The zero value is none.
type Silence struct{ ticks atomic.Int32 }

// Break ends the silence: something has come.
func (s *Silence) Break() { s.ticks.Store(0) }

// A Clock measures the silence of others. One goroutine uses it.
type Clock struct {
	C <-chan time.Time // ticks: call Tick after each

	timeout, tick time.Duration
	ticker        *time.Ticker
	last          time.Time
	late          bool // the last tick came late
	counts        bool // the present one counts
}

// NewClock starts a clock by which an end that is silent for timeout is dead. Stop ends it.
func NewClock(timeout time.Duration) *Clock {
	c := &Clock{timeout: timeout, tick: tickOf(timeout), last: time.Now()}
	c.ticker = time.NewTicker(c.tick)
	c.C = c.ticker.C
	return c
}

// Stop ends the ticking.
func (c *Clock) Stop() { c.ticker.Stop() }

// Tick takes in a tick. One that comes late does not count, however long this process was away, unless the one before
// was late too: then this is how it fares.
func (c *Clock) Tick() {
	now := time.Now()
	late := now.Sub(c.last) > 2*c.tick
	c.counts = !late || c.late
	c.last, c.late = now, late && !c.late
}

// Dead counts the tick for one link, and says whether its other end has been silent for the timeout.
func (c *Clock) Dead(s *Silence) bool {
	if !c.counts {
		return false
	}
	return time.Duration(s.ticks.Add(1))*c.tick > c.timeout
}

// Missed says whether a silence has been for a third of the timeout: a beat is overdue.
func (c *Clock) Missed(s *Silence) bool { return 3*c.Long(s) > c.timeout }

// Long returns how long a silence has been, as far as the clock has counted it.
func (c *Clock) Long(s *Silence) time.Duration { return time.Duration(s.ticks.Load()) * c.tick }

// listening is a reader of which every byte breaks the silence, not only whole frames: on a slow link a large one takes
// longer than the timeout.
type listening struct {
	r       io.Reader
	silence *Silence
}

func (l listening) Read(b []byte) (int, error) {
	n, err := l.r.Read(b)
	if n > 0 {
		l.silence.Break()
	}
	return n, err
}
