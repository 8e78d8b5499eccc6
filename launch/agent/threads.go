package agent

import (
	"runtime"
	"sync"
)

// readyThreads are as many as a busy agent was seen to have beside its spawners, with room: it works with them where ranks
// have used up the processes that are allowed.
const readyThreads = spawnThreads + 16

// readyProcess has the runtime start threads while it still can: it keeps them for good, and ends the process where it
// needs one more and cannot have it.
func readyProcess() {
	var locked, work sync.WaitGroup
	locked.Add(readyThreads)
	for range readyThreads {
		work.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			locked.Done()
			locked.Wait()
		})
	}
	work.Wait()
}

// ReadyThreads does so where that takes little of what is allowed: else those threads might be the ones too many. It is for
// agents, and for a launcher whose ranks are on its own machine.
func ReadyThreads() {
	if most := OwnLimits().Processes; most == 0 || most >= 8*readyThreads {
		readyProcess()
	}
}
