package comm

import "sync"

// A series runs functions one after another, in a goroutine that lives while there are any.
type series struct {
	mu    sync.Mutex
	queue []func()
	busy  bool
	over  bool      // no more are taken
	idle  sync.Cond // not busy any more; without a lock as long as nobody waits
}

func (s *series) add(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	s.queue = append(s.queue, f)
	if !s.busy {
		s.busy = true
		go s.run()
	}
}

func (s *series) run() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) > 0 {
		f := s.queue[0]
		s.queue = s.queue[1:]
		s.mu.Unlock()
		f()
		s.mu.Lock()
	}
	s.busy = false
	if s.idle.L != nil {
		s.idle.Broadcast()
	}
}

// len returns how many wait.
func (s *series) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue)
}

// wait waits until none is left.
func (s *series) wait() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle.L = &s.mu
	for s.busy {
		s.idle.Wait()
	}
}

// stop drops those that wait, takes no more, and waits for the one that runs.
func (s *series) stop() {
	s.mu.Lock()
	s.over, s.queue = true, nil
	s.mu.Unlock()
	s.wait()
}
