package comm_test

import (
	"strings"
	"testing"
)

// Ranks whose links their agent carries over one connection are ranks like others.
func TestTrunk(t *testing.T) {
	a := newAgent(t, 4, "tcp")
	a.addTrunk("1-3")
	if out := a.run("farm"); out[0] != "30 [0 1 2 3] 4 2\n" {
		t.Errorf("got %q", out)
	}
}

// An agent speaks for those ranks only that its certificate names.
func TestTrunkOfOtherRanks(t *testing.T) {
	a := newAgent(t, 3, "tcp")
	a.addTrunk("1")
	zero, one, two := a.start(0, "enters"), a.start(1, "enters"), a.start(2, "enters")
	const refusal = "it claims rank 2, which its certificate does not name"
	if code := two.exit(t); code != 1 || !strings.Contains(two.out.String(), refusal) {
		t.Errorf("rank 2: exit status %d, %q, want %q", code, &two.out, refusal)
	}
	zero.Process.Kill()
	zero.exit(t)
	const turned = "pprun: rank 0: the hub turns away who comes through the agent of n1: " + refusal + "\n"
	if zero.err.String() != turned {
		t.Errorf("rank 0 says %q, want %q", &zero.err, turned)
	}
	one.Process.Kill()
	one.exit(t)
}
