package main

import (
	"github.com/pprun/pprun/scripts/lab/labtest"
	"golang.org/x/sys/unix"
)

// fault is what is done to a victim, or to its host.
type fault int

const (
	kill  fault = iota // SIGKILL
	stop               // SIGSTOP
	cut                // its host is cut off the network
	power              // its host loses its power
)

func (f fault) String() string {
	return [...]string{"kill", "stop", "cut off the host of", "turn off the host of"}[f]
}

// faultsOf are those that a victim may meet, more likely ones several times.
func faultsOf(v victim) []fault {
	switch v {
	case launcher, agentProc, hub:
		return []fault{kill, kill, kill, kill, stop, stop, cut, power}
	default:
		return []fault{kill, kill, kill, stop}
	}
}

// local says whether it hurts one process, not its host.
func (f fault) local() bool { return f == kill || f == stop }

// hit does it, and returns what undoes it.
func (f fault) hit(lab *labtest.Lab, p *process) (undo func(), err error) {
	host := lab.Host(p.host)
	switch f {
	case kill:
		return nil, p.signal(unix.SIGKILL)
	case stop:
		return func() { p.signal(unix.SIGCONT) }, p.signal(unix.SIGSTOP)
	case cut:
		host.Cut()
		return host.Uncut, nil
	default:
		host.Crash()
		return nil, nil
	}
}
