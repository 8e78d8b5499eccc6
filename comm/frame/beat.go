package frame

import (
	"io"
	"sync/atomic"
	"time"
)

// Both ends of a link let each other know that they live: every Interval they send something, a beat if nothing else, and
// one of whom not a byte has come for the timeout is taken for dead. Only that time counts which the listener itself lives
// through, since one who was stopped, or got no processor, must first read what came meanwhile.

// Timeout is how long the other end of a link may be silent, unless somebody says otherwise.
const Timeout = 15 * time.Second

// tickOf is the grain in which silence is measured.
func tickOf(timeout time.Duration) time.Duration { return min(time.Second/2, timeout/30) }

// Interval is how often the ends of a link send something.
func Interval(timeout time.Duration) time.Duration { return 4 * tickOf(timeout) }

// Silence is how long nothing has come from the other end of a link. The zero value is none.
type Silence struct {
	broken atomic.Bool  // something has come since the last tick
	long   atomic.Int64 // a duration
}

// Break ends the silence: something has come.
func (s *Silence) Break() { s.broken.Store(true) }

// A Clock measures the silence of others. One goroutine uses it.
type Clock struct {
	C <-chan time.Time // ticks: call Tick after each

	timeout, most time.Duration
	ticker        *time.Ticker
	last          time.Time
	lived         time.Duration // since the tick before
}

// NewClock starts a clock by which an end that is silent for timeout is dead. Stop ends it.
func NewClock(timeout time.Duration) *Clock {
	c := &Clock{timeout: timeout, most: Interval(timeout), last: time.Now(), ticker: time.NewTicker(tickOf(timeout))}
	c.C = c.ticker.C
	return c
}

// Stop ends the ticking.
func (c *Clock) Stop() { c.ticker.Stop() }

// Tick takes in a tick. However long this process was away, it counts as no more than one beat that is missed.
func (c *Clock) Tick() {
	now := time.Now()
	c.last, c.lived = now, min(now.Sub(c.last), c.most)
}

// Dead counts the tick for one link, and says whether its other end has been silent for the timeout.
func (c *Clock) Dead(s *Silence) bool {
	if s.broken.Swap(false) {
		s.long.Store(0)
		return false
	}
	return time.Duration(s.long.Add(int64(c.lived))) >= c.timeout
}

// Late says whether a silence has been longer than it is between two beats.
func (c *Clock) Late(s *Silence) bool { return c.Long(s) > c.most }

// Missed says whether a silence has been for a third of the timeout: a beat is overdue.
func (c *Clock) Missed(s *Silence) bool { return 3*c.Long(s) > c.timeout }

// Long returns how long a silence has been, as far as the clock has counted it.
func (c *Clock) Long(s *Silence) time.Duration {
	if s.broken.Load() {
		return 0
	}
	return time.Duration(s.long.Load())
}

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
