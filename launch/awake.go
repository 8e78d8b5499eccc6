package launch

import (
	"fmt"
	"time"

	"github.com/pprun/pprun/comm/frame"
)

// awake notices when this process was stopped and agents were not told, as by kill -STOP: those that heard nothing of it for
// the timeout have ended their ranks, and are only heard of now.
type awake struct {
	looked time.Time     // the last time
	slept  time.Duration // how long it was away
	woke   time.Time     // since when it is back
}

// hindsight is how long after its return what it then hears of is put down to that.
const hindsight = 5 * time.Second

// look is called now and then.
func (a *awake) look() {
	now := time.Now()
	if away := now.Sub(a.looked); away > 2*watchTick {
		a.slept, a.woke = away, now
	}
	a.looked = now
}

// why says why agents are gone now, if that is why. What they heard last may have been a while before.
func (a *awake) why(timeout time.Duration) string {
	if a.slept+frame.Interval(timeout) < timeout || time.Since(a.woke) > hindsight {
		return ""
	}
	return fmt.Sprintf("pprun was stopped here, or got no CPU, for %v, and its agents wait for it no longer than %v",
		a.slept.Round(100*time.Millisecond), timeout)
}
