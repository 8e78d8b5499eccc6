package launch

import (
	"io"
	"sync"
)

// sink writes to one file in pieces as large as have gathered meanwhile. Adding to it never waits for the file.
type sink struct {
	w      io.Writer
	wrote  func(node, bytes int) // told of each piece of a node that is off the hands of the sink
	broken func(error)           // told of the first error; the sink then swallows everything

	mu      sync.Mutex
	cond    sync.Cond
	pending []byte        // guarded by mu, as all below
	owed    map[int]int   // bytes in pending by node
	spare   []byte        // the other buffer
	last    byte          // last byte ever added
	shut    bool          // nothing more will be added
	idle    chan struct{} // closed when everything is written after shut
}

func newSink(w io.Writer, wrote func(node, bytes int), broken func(error)) *sink {
	s := &sink{w: w, wrote: wrote, broken: broken, owed: map[int]int{}, last: '\n', idle: make(chan struct{})}
	s.cond.L = &s.mu
	go s.run()
	return s
}

// add queues bytes of a node's output, which format appends to the queue. size is what they counted on their way here.
func (s *sink) add(node, size int, format func(queue []byte) []byte) {
	s.mu.Lock()
	before := len(s.pending)
	s.pending = format(s.pending)
	if len(s.pending) > before {
		s.last = s.pending[len(s.pending)-1]
	}
	s.owed[node] += size
	s.mu.Unlock()
	s.cond.Signal()
}

// say queues a line of pprun's own, on a line of its own.
func (s *sink) say(line string) {
	s.mu.Lock()
	if s.last != '\n' {
		s.pending = append(s.pending, '\n')
	}
	s.pending = append(append(s.pending, line...), '\n')
	s.last = '\n'
	s.mu.Unlock()
	s.cond.Signal()
}

// close returns a channel that is closed once everything is written.
func (s *sink) close() <-chan struct{} {
	s.mu.Lock()
	s.shut = true
	s.mu.Unlock()
	s.cond.Signal()
	return s.idle
}

// run writes in a goroutine of its own until close.
func (s *sink) run() {
	defer close(s.idle)
	var failed bool
	for {
		s.mu.Lock()
		for len(s.pending) == 0 && len(s.owed) == 0 && !s.shut {
			s.cond.Wait()
		}
		b, owed := s.pending, s.owed
		if len(b) == 0 && len(owed) == 0 {
			s.mu.Unlock()
			return
		}
		s.pending, s.owed = s.spare[:0], make(map[int]int, len(owed))
		s.mu.Unlock()
		if !failed && len(b) > 0 {
			if _, err := s.w.Write(b); err != nil {
				failed = true
				s.broken(err)
			}
		}
		for node, n := range owed {
			s.wrote(node, n)
		}
		s.mu.Lock()
		s.spare = b
		s.mu.Unlock()
	}
}
