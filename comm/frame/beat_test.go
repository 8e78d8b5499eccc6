package frame

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// deadAfter returns how long it takes until a clock takes a silent end for dead; away is called with each tick and may
// keep the listener from its clock.
func deadAfter(timeout time.Duration, away func(n int)) time.Duration {
	clock := NewClock(timeout)
	defer clock.Stop()
	var s Silence
	began := time.Now()
	for n := 0; ; n++ {
		<-clock.C
		clock.Tick()
		if clock.Dead(&s) {
			return time.Since(began)
		}
		away(n)
	}
}

func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = 15 * time.Second
		if d := deadAfter(timeout, func(int) {}); d != timeout {
			t.Errorf("a listener that is there: dead after %v", d)
		}
		away := func(n int) {
			if n == 13 {
				time.Sleep(time.Hour)
			}
		}
		if d := deadAfter(timeout, away); d < time.Hour+timeout-Interval(timeout) || d > time.Hour+timeout {
			t.Errorf("a listener that is away for an hour: dead after %v", d)
		}
		if d := deadAfter(timeout, func(int) { time.Sleep(5 * time.Second) }); d < 30*time.Second || d > 5*time.Minute {
			t.Errorf("a listener that is mostly away: dead after %v", d)
		}
		for _, timeout := range []time.Duration{time.Second, 3 * time.Second, 10 * time.Minute} {
			if d := deadAfter(timeout, func(int) {}); d < timeout || d > timeout*11/10 {
				t.Errorf("timeout %v: dead after %v", timeout, d)
			}
			if i := Interval(timeout); i > 2*time.Second || i > timeout/5 {
				t.Errorf("timeout %v: a beat every %v", timeout, i)
			}
		}
	})
}

// TestTrickle has one frame that takes ten times the timeout to come.
func TestTrickle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		limits := Limits{1: MaxPayload}
		r := NewReader(near, &limits)
		b := Append(nil, Header{Kind: 1}, make([]byte, 10*bufferLen))
		go func() {
			defer far.Close()
			for ; len(b) > 0; b = b[min(len(b), bufferLen):] {
				time.Sleep(10 * time.Second)
				far.Write(b[:min(len(b), bufferLen)])
			}
		}()
		read := make(chan error, 1)
		go func() {
			_, _, err := r.Next()
			read <- err
		}()
		clock := NewClock(15 * time.Second)
		defer clock.Stop()
		for {
			select {
			case err := <-read:
				if err != nil {
					t.Error(err)
				}
				near.Close()
				return
			case <-clock.C:
				if clock.Tick(); clock.Dead(r.Silence()) {
					t.Error("dead, though bytes come")
					near.Close()
					<-read
					io.Copy(io.Discard, near)
					return
				}
			}
		}
	})
}
