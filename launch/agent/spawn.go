package agent

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// spawnThreads start processes side by side: from eight it takes half the time of one.
const spawnThreads = 8

// spawners run what start processes, each on an operating system thread of its own that never ends: the kernel sends the
// parent-death signal when the creating thread ends, not the process (golang/go#27505).
var spawners = struct {
	mu   sync.Mutex // held while a thread is counted
	n    int
	work chan func()
}{work: make(chan func())}

// onSpawner runs f on the thread of an idle spawner, or of a new one while there are fewer than spawnThreads.
func onSpawner(f func()) {
	select {
	case spawners.work <- f:
		return
	default:
	}
	s := &spawners
	s.mu.Lock()
	more := s.n < spawnThreads
	if more {
		s.n++
	}
	s.mu.Unlock()
	if !more {
		s.work <- f
		return
	}
	go func() {
		runtime.LockOSThread()
		for ; ; f = <-s.work {
			f()
		}
	}()
}

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

// execute runs a program to its end, with nothing on its standard streams.
func (a *agent) execute(path string) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	defer a.reaper.starting()()
	fd := null.Fd()
	pid, err := spawn(path, []string{path}, &syscall.ProcAttr{Sys: session(), Files: []uintptr{fd, fd, fd}})
	if err != nil {
		return err
	}
	ended := make(chan ending, 1)
	a.reaper.expect(pid, watcher{ended: func(e ending) { ended <- e }})
	if e := <-ended; e.status != 0 {
		return fmt.Errorf("exit status %d", e.status.ExitStatus())
	}
	return nil
}
