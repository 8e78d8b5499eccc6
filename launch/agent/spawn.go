package agent

import (
	"runtime"
	"sync"
	"syscall"
	"time"
)

// spawnThreads start processes side by side: from eight it takes half the time of one.
const spawnThreads = 8

// spawners run what start processes, each on an operating system thread of its own that never ends: the kernel sends the
// parent-death signal when the creating thread ends, not the process (golang/go#27505).
var spawners = sync.OnceValue(func() chan<- func() {
	c := make(chan func())
	for range spawnThreads {
		go func() {
			runtime.LockOSThread()
			for f := range c {
				f()
			}
		}()
	}
	return c
})

// spawn starts a process. A file that another thread or process has just written may still be open for writing in a
// child that has forked and not yet executed (golang/go#22315); that passes.
func spawn(path string, argv []string, attr *syscall.ProcAttr) (pid int, err error) {
	for wait := time.Millisecond; ; wait *= 2 {
		pid, err = syscall.ForkExec(path, argv, attr)
		if err != syscall.ETXTBSY || wait > time.Second {
			return pid, err
		}
		time.Sleep(wait)
	}
}
