package main

import (
	"slices"
	"syscall"
)

// judge checks how pprun ended and what it said.
func (g *game) judge() {
	if !g.over() {
		return
	}
	status := g.cmd.ProcessState.Sys().(syscall.WaitStatus)
	code := status.ExitStatus()
	if status.Signaled() {
		code = 128 + int(status.Signal())
	}
	g.out.Status = code
	if g.pprunKilled() {
		if code != 137 && g.Fault != power { // without a network it may have given up before
			g.wrong("pprun was killed, and its exit status is %d", code)
		}
		return
	}
	if !g.fits(code) {
		g.wrong("exit status %d", code)
	}
	if code == 0 && !g.Job.done(g.stdout.String()) {
		g.wrong("exit status 0 without the results")
	}
	if code == diedOfTerm && g.ordered {
		return
	}
	said := reasons(g.stderr.String())
	if g.out.Hit && g.Fault != kill { // whose host may be cut off while it cleans up
		said = slices.DeleteFunc(said, unsure.MatchString)
	}
	if code == 0 && len(said) > 0 || code != 0 && len(said) != 1 {
		g.wrong("exit status %d, and %d reasons: %q", code, len(said), said)
	}
}

// diedOfTerm is the status of whoever dies of TERM in a lab, as pprun does before it has begun.
const diedOfTerm = 1

// pprunKilled says whether pprun cannot tell how its job has ended.
func (g *game) pprunKilled() bool {
	return g.slain || g.victim != nil && (g.Victim == launcher && g.Fault == kill || g.victim.host == "head" && g.Fault == power)
}

// fits says whether an exit status suits what has happened.
func (g *game) fits(code int) bool {
	switch code {
	case 0:
		return g.fate() == livesOn && (g.Job.obeys() || g.Phase == end)
	case 128 + int(syscall.SIGTERM):
		return g.ordered
	case diedOfTerm: // or of rank 0, which has lost somebody before it could begin
		return g.ordered && g.Phase == resolve || g.Job == farm && g.Phase == start
	case 128 + int(syscall.SIGKILL): // the victim's own end
		return g.Fault == kill && (g.Victim == hub || g.Victim == rank)
	case 125:
		return g.victim != nil && g.Victim != guard && g.Victim != grandchild && (g.Victim != launcher || g.Fault != kill)
	}
	return false
}
