package labtest

import (
	"testing"
)

func TestUp(t *testing.T) {
	l := Up(t, Config{Hosts: 2, Mode: Root})
	if got := l.Output("head", "ssh", "node1", "hostname"); got != "node1" {
		t.Errorf("ssh node1 hostname: %q", got)
	}
	for _, p := range l.Processes("node1") {
		t.Log(p)
	}
}
