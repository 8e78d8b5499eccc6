package agent

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pprun/pprun/comm/frame"
)

// TestClock has a launcher beat for an hour and then do something else.
func TestClock(t *testing.T) {
	const timeout = 15 * time.Second
	beats := func(c *Conn, _ *agent, d time.Duration) {
		for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(frame.Interval(timeout)) {
			c.Send(frame.Header{Kind: KindBeat}, nil)
		}
	}
	for _, c := range []struct {
		name  string
		then  func(c *Conn, a *agent, far net.Conn)
		lives bool
	}{
		{"it goes on", func(c *Conn, a *agent, _ net.Conn) { beats(c, a, time.Hour) }, true},
		{"it falls silent", func(c *Conn, a *agent, _ net.Conn) { time.Sleep(timeout + 3*time.Second) }, false},
		{"it is silent for a while", func(c *Conn, a *agent, _ net.Conn) { time.Sleep(timeout - 3*time.Second); beats(c, a, time.Minute) }, true},
		{"it is suspended", func(c *Conn, a *agent, _ net.Conn) {
			a.suspended.Store(true)
			time.Sleep(time.Hour)
			a.suspended.Store(false)
			time.Sleep(timeout - 3*time.Second)
		}, true},
		{"it sends a long frame slowly", func(c *Conn, a *agent, far net.Conn) {
			for _, b := range frame.Append(nil, frame.Header{Kind: KindStdin}, make([]byte, 1000)) {
				far.Write([]byte{b})
				time.Sleep(timeout / 2)
			}
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				a := &agent{conn: NewConn(near), trunk: newTrunk(), credit: newWindow(OutputWindow), look: make(chan struct{}, 1)}
				a.relays = newRelays(a.conn)
				a.life, a.die = context.WithCancel(t.Context())
				a.heartbeat.Store(int64(timeout))
				go func() { // what read does
					for {
						if _, _, err := a.conn.Next(); err != nil {
							return
						}
					}
				}()
				launcher := NewConn(far)
				var heard atomic.Int64
				go func() {
					for {
						h, _, err := launcher.Next()
						if err != nil {
							return
						}
						if h.Kind == KindBeat {
							heard.Add(1)
						}
					}
				}()
				stop := make(chan struct{})
				ended := make(chan struct{})
				go func() { a.clock(stop); close(ended) }()
				beats(launcher, a, time.Hour)
				synctest.Wait()
				if n := heard.Load(); n < 3590 || n > 3610 {
					t.Errorf("%d beats in an hour, want one every second", n)
				}
				c.then(launcher, a, far)
				select {
				case <-a.life.Done():
					if c.lives || !strings.Contains(a.cause.Error(), "the launcher is silent for 15s") {
						t.Errorf("lost: %v", a.cause)
					}
				default:
					if !c.lives {
						t.Error("the agent believes in its launcher")
					}
				}
				close(stop)
				near.Close()
				far.Close()
				<-ended
			})
		})
	}
}

// TestTrunkFallsSilent has nothing come over a trunk any more: with links on it, it is given up, unless rank 0 is stopped;
// without, the next link does not trust it.
func TestTrunkFallsSilent(t *testing.T) {
	const timeout = 15 * time.Second
	for _, c := range []struct {
		name           string
		links          int
		excused        bool
		givenUp, stale bool
	}{
		{"with a link", 1, false, true, true},
		{"with a link, rank 0 is stopped", 1, true, false, false},
		{"without links", 0, false, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				ours, theirs := frame.NewTrunk(near, 1), frame.NewTrunk(far, 1)
				var work sync.WaitGroup
				work.Go(func() { ours.Run(nil) })
				work.Go(func() { theirs.Run(func(s *frame.Stream) { work.Go(func() { io.Copy(io.Discard, s) }) }) })
				trunk := newTrunk()
				trunk.conn.Store(ours)
				for range c.links {
					s, err := ours.Open(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					work.Go(func() { io.Copy(io.Discard, s) })
				}
				clock := frame.NewClock(timeout)
				for began := time.Now(); time.Since(began) <= timeout; {
					<-clock.C
					clock.Tick()
					trunk.listen(clock, c.excused)
				}
				clock.Stop()
				synctest.Wait()
				if (ours.Err() != nil) != c.givenUp || trunk.stale.Load() != c.stale {
					t.Errorf("given up: %v, stale: %v; want %v, %v", ours.Err(), trunk.stale.Load(), c.givenUp, c.stale)
				}
				trunk.end(0)
				theirs.Close(0)
				work.Wait()
			})
		})
	}
}

// TestFirstBeat has a launcher that would miss the agent sooner than agents beat by themselves: hello says so.
func TestFirstBeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		a := &agent{conn: NewConn(near), trunk: newTrunk(), credit: newWindow(OutputWindow), look: make(chan struct{}, 1)}
		stop, ended := make(chan struct{}), make(chan struct{})
		go func() { a.beat(stop); close(ended) }()
		began := time.Now()
		time.Sleep(100 * time.Millisecond)
		a.expectBeats(time.Second)
		if h, _, err := NewConn(far).Next(); h.Kind != KindBeat || err != nil || time.Since(began) > time.Second {
			t.Errorf("after %v comes a frame of kind %d, %v", time.Since(began), h.Kind, err)
		}
		close(stop)
		near.Close()
		<-ended
	})
}

// TestStopTime has an agent stopped at some moment between the ticks of its guard, just after it was heard: its launcher
// gives it up before its guard kills it.
func TestStopTime(t *testing.T) {
	const timeout = 15 * time.Second
	deadAt := func(timeout time.Duration) <-chan time.Time {
		at := make(chan time.Time, 1)
		go func() {
			clock := frame.NewClock(timeout)
			defer clock.Stop()
			var silence frame.Silence
			for dead := false; !dead; dead = clock.Dead(&silence) {
				<-clock.C
				clock.Tick()
			}
			at <- time.Now()
		}()
		return at
	}
	for phase := 50 * time.Millisecond; phase < time.Second; phase += 100 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			guard := deadAt(stopTime(timeout))
			time.Sleep(phase)
			launcher := deadAt(timeout)
			if l, g := <-launcher, <-guard; !l.Before(g) {
				t.Errorf("stopped %v before a tick: the launcher gives it up %v after its guard", time.Second-phase, l.Sub(g))
			}
		})
	}
}
