package agent

import (
	"testing"
	"testing/synctest"

	"github.com/pprun/pprun/comm/place"
)

// A rank that has its place may come to its end before the agent, on a busy machine, has noted that it has it. What it said
// last counts all the same.
func TestSeatIsLeftBeforeItIsGiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s seat
		if err := s.take(&place.Asker{Ask: place.Ask{PID: 1}}); err != nil {
			t.Fatal(err)
		}
		go func() {
			if joined, left := s.leave(); !joined || !left {
				t.Errorf("joined %v, left %v", joined, left)
			}
		}()
		synctest.Wait() // the process has ended
		if !s.mu.TryLock() {
			t.Error("nobody else can use the seat")
		} else {
			s.mu.Unlock()
			s.give()
		}
		s.gone <- true
	})
}
