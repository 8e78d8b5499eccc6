//go:build !race

package main

import (
	"os"
	"testing"
	"time"
)

// TestChaos plays what there is time for in 20 seconds, or, with CHAOS=long, 100 rounds, which take three minutes. What it
// runs is built without the race detector, so that a test under it would show nothing.
func TestChaos(t *testing.T) {
	c := Config{Seed: 5, Rounds: 1000, Labs: 2, Heartbeat: 3 * time.Second, Until: time.Now().Add(15 * time.Second)}
	if os.Getenv("CHAOS") == "long" {
		c.Rounds, c.Labs, c.Until = 100, 3, time.Time{}
	}
	if Run(t, c, t.Output()) > 0 {
		t.Fail()
	}
}
