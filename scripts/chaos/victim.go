package main

import (
	"slices"
	"strings"
)

// victim is a role in a job.
type victim int

const (
	launcher   victim = iota
	session           // sshd's process for the connection of a host
	bootstrap         // whatever runs below that: nobody's victim
	agentProc         // pprun agent
	guard             // pprun guard
	hub               // rank 0
	rank              // another
	grandchild        // a process that has left its rank's session
)

func (v victim) String() string {
	return [...]string{"launcher", "sshd session", "bootstrap", "agent", "guard", "hub", "rank", "grandchild"}[v]
}

// victimsIn are those that there may be in a phase.
func victimsIn(p phase, j job) []victim {
	vs := []victim{launcher, session, agentProc, guard, hub, rank}
	switch p {
	case resolve:
		return vs[:1]
	case connect:
		return vs[:2]
	case stage:
		return vs[:3]
	}
	if j == strayed {
		vs = append(vs, grandchild)
	}
	return vs
}

// is says whether a process has that role.
func (v victim) is(p *process) bool {
	switch name := p.Command(); v {
	case launcher:
		return p.host == "head" && name == "pprun" && slices.Contains(p.Args, "--host") && p.PPid == 0 // its children begin as copies of it
	case session:
		return strings.HasPrefix(p.Args[0], "sshd") && !strings.Contains(p.Args[0], "listener")
	case bootstrap:
		return p.parent != nil && session.is(p.parent) && !session.is(p)
	case agentProc:
		return len(p.Args) > 1 && p.Args[1] == "agent" && (p.parent == nil || !agentProc.is(p.parent)) // as above
	case guard:
		return slices.Equal(p.Args, []string{"pprun", "guard"})
	case hub:
		return p.rank == 0
	case rank:
		return p.rank > 0
	default:
		return slices.Equal(p.Args, []string{"sleep", straySeconds})
	}
}
