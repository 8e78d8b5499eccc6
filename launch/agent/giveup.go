package agent

import (
	"syscall"
	"time"
)

// patience is the time that a rank whom the hub has given up gets to notice and to end by itself. One that has only lost
// its way there does so; one that hangs does not.
const patience = time.Second

// giveUp ends a rank of which the hub has heard nothing for the timeout.
func (a *agent) giveUp(n int, incarnation uint32) {
	r := a.rank(n)
	if r == nil || r.incarnation != incarnation || !r.alive() {
		return
	}
	a.work.Go(func() {
		select {
		case <-r.ended:
			return
		case <-time.After(patience):
		}
		r.hung.Store(true)
		for _, pid := range []int{r.seat.holder(), int(r.pid.Load())} {
			if pid != 0 {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
}
