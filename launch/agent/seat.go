package agent

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pprun/pprun/comm/place"
)

// seat is a rank's place in the job, given to the first process that asks for it.
type seat struct {
	mu    sync.Mutex
	owner int          // pid of the process that has it, 0: free
	asker *place.Asker // its connection
	given bool         // it has its place
	gone  chan bool    // receives, when the connection ends, whether the rank had said bye

	orphan atomic.Pointer[string] // its link to the hub has ended before the job, and what it missed if that is why
}

// take gives the seat to the asker.
func (s *seat) take(k *place.Asker) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owner != 0 {
		return fmt.Errorf("rank %d is taken by process %d: one process of a rank calls comm.Init or comm.Main", k.Ask.Rank, s.owner)
	}
	s.owner, s.asker, s.gone = k.Ask.PID, k, make(chan bool, 1)
	return nil
}

// serves says whether the process that has it only serves tasks.
func (s *seat) serves() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asker != nil && s.asker.Ask.Role == place.Serve
}

// holder is the process that has it, 0 if none has.
func (s *seat) holder() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owner
}

// give notes that the process that has it knows its place.
func (s *seat) give() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.given = true
}

// tell calls f with the connection of the process that has it, if that knows its place.
func (s *seat) tell(f func(*place.Asker)) {
	s.mu.Lock()
	k, given := s.asker, s.given
	s.mu.Unlock()
	if given {
		f(k)
	}
}

// close ends the connection of the process that has it, if any.
func (s *seat) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asker != nil {
		s.asker.Close()
	}
}

// leave returns whether the rank, whose process has ended, had taken its seat, and had said bye. Its connection ends with it,
// unless a process that it left behind holds it. The rank may have done all its work before the agent has come to note that
// it knows its place, so others may use the seat meanwhile.
func (s *seat) leave() (joined, left bool) {
	s.mu.Lock()
	k, gone := s.asker, s.gone
	s.mu.Unlock()
	if k == nil {
		return false, false
	}
	select {
	case left = <-gone:
	case <-time.After(drainLimit):
		k.Close()
	}
	return true, left
}
