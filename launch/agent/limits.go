package agent

import (
	"fmt"
	"syscall"
)

// Limits are how much this user may have on a node of what every process takes. 0: no limit is known.
type Limits struct {
	Files     int    // open at once in one process: the hard limit, since programs in Go raise theirs to it
	Processes int    // and threads, to be started yet
	By        string // what limits Processes, as an administrator knows it
}

// OwnLimits returns the limits of this process.
func OwnLimits() Limits {
	var l Limits
	if files := rlimit(syscall.RLIMIT_NOFILE); files.Max < 1<<31 {
		l.Files = int(files.Max)
	}
	l.limitProcesses()
	return l
}

// rlimit returns one of this process's limits, without any if the system does not tell.
func rlimit(resource int) syscall.Rlimit {
	var r syscall.Rlimit
	if syscall.Getrlimit(resource, &r) != nil {
		return syscall.Rlimit{Cur: 1<<63 - 1, Max: 1<<63 - 1}
	}
	return r
}

// What a process opens for itself, with room for what is open only while ranks are started.
const ownFiles = 64

// A Use is how a rank uses its agent, by the files that the agent opens for it.
type Use int

const (
	Plain  Use = 2 // its standard output and error
	Linked Use = 3 // of one that links package comm, the connection to it besides
	Behind Use = 4 // of one whose link to the hub goes through its agent, that too
)

// threadsOfGo is what a process of a program in Go has, once it has done anything: 5.7 on average, measured.
const threadsOfGo = 5

// Needs returns what so many ranks of a node take at least.
func Needs(ranks int, use Use) Limits {
	l := Limits{Files: ownFiles + int(use)*ranks, Processes: ranks}
	if use != Plain {
		l.Processes *= threadsOfGo
	}
	return l
}

// HubNeeds returns what so many links take of rank 0.
func HubNeeds(links int) Limits { return Limits{Files: ownFiles + links} }

// Lack says what of a need the limits do not allow, and what to do about it; nothing if all is well.
func (l Limits) Lack(need Limits) string {
	switch {
	case l.Files > 0 && l.Files < need.Files:
		return fmt.Sprintf("their agent needs %d open files, its hard limit is %d: raise it (ulimit -Hn), or use more nodes", need.Files, l.Files)
	case l.Processes > 0 && l.Processes < need.Processes:
		return fmt.Sprintf("they need %d processes and threads, %s leaves %d: raise it, or use more nodes", need.Processes, l.By, l.Processes)
	}
	return ""
}
