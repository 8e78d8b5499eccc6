//go:build !linux

package agent

import (
	"syscall"
)

const maxRSSUnit = 1

// signalAll signals the process group of every rank: elsewhere than on Linux nothing tells the agent of others.
func (a *agent) signalAll(s syscall.Signal) {
	for _, r := range a.all() {
		if pid := int(r.pid.Load()); pid != 0 {
			syscall.Kill(-pid, s)
		}
	}
}

func (a *agent) left() bool {
	for _, r := range a.all() {
		if pid := int(r.pid.Load()); pid != 0 && syscall.Kill(-pid, 0) == nil {
			return true
		}
	}
	return false
}

// exiting is not known: a process that ends while the job is ended counts as one that was ended.
func exiting(int) bool { return false }

// stopped is not known.
func stopped(int) bool { return false }

func sweep(sessions map[int]bool, marks [][]byte) (found bool) {
	for s := range sessions {
		found = syscall.Kill(-s, syscall.SIGKILL) == nil || found
	}
	return found
}
