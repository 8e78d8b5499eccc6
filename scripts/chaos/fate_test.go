package main

import "testing"

// TestFateBeforeTheHub has a host lose its power before rank 0 is seen: all may have joined by the time it does.
func TestFateBeforeTheHub(t *testing.T) {
	for host, want := range map[string]fate{"head": ends, "node2": livesOn} {
		g := game{Round: Round{Job: farm, Head: true, Phase: stage, Victim: agentProc, Fault: power}, victim: &process{host: host}}
		if got := g.fate(); got != want {
			t.Errorf("%s is turned off: the job's fate is %d, want %d", host, got, want)
		}
	}
}
