package launch

import (
	"context"
	"testing"
	"time"

	"github.com/pprun/pprun/comm/frame"
)

// TestCallerEnds has the caller's context end, and what comes of it not yet: the contexts below one end after it.
func TestCallerEnds(t *testing.T) {
	caller, cancel := context.WithCancel(t.Context())
	cancel()
	clock := frame.NewClock(time.Minute)
	defer clock.Stop()
	j := &job{ctx: t.Context(), cancel: func() {}, caller: caller, canceled: caller.Done(), doomed: make(chan struct{}),
		asks: t.Context(), stopAsking: func() {}, tick: time.NewTicker(time.Hour), clock: clock, signals: new(signals)}
	defer j.tick.Stop()
	j.step(nil)
	if j.verdict == nil || j.verdict.text != "context canceled" {
		t.Errorf("verdict %+v", j.verdict)
	}
}
