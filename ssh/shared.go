package ssh

import (
	"context"
	"sync"

	xssh "golang.org/x/crypto/ssh"
)

// perAddress is how many connections to one address may be between connect and authenticated at a time:
// sshd begins to drop them at random at 10 (MaxStartups).
const perAddress = 10

// Shared is what several connections of one program share: connections to jump hosts, keys that were decrypted, warnings
// that were given, and the care not to overrun one sshd with connections. The zero value is ready for use; all
// methods of a connection may use it concurrently.
type Shared struct {
	mu     sync.Mutex
	warned map[string]bool
	doors  map[string]chan struct{}
	jumps  map[string]*jump
	keys   map[string]*unlocking
	asking chan struct{} // holds one while a person is asked
}

// An unlocking is a key file that is being decrypted, or was.
type unlocking struct {
	done chan struct{} // closed when key and err are set
	key  xssh.AlgorithmSigner
	err  error
}

// firstWarning reports whether message was not given yet.
func (s *Shared) firstWarning(message string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.warned[message] {
		return false
	}
	if s.warned == nil {
		s.warned = make(map[string]bool)
	}
	s.warned[message] = true
	return true
}

// enter waits for a place among the connections to an address that are being made, and returns the function
// that gives it back.
func (s *Shared) enter(ctx context.Context, address string) (leave func(), err error) {
	s.mu.Lock()
	door, ok := s.doors[address]
	if !ok {
		if s.doors == nil {
			s.doors = make(map[string]chan struct{})
		}
		door = make(chan struct{}, perAddress)
		s.doors[address] = door
	}
	s.mu.Unlock()
	select {
	case door <- struct{}{}:
		return func() { <-door }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// unlock returns the key in file, decrypted by decrypt at most once for all connections.
func (s *Shared) unlock(ctx context.Context, file string, decrypt func() (xssh.AlgorithmSigner, error)) (xssh.AlgorithmSigner, error) {
	s.mu.Lock()
	u, ok := s.keys[file]
	if !ok {
		if s.keys == nil {
			s.keys = make(map[string]*unlocking)
		}
		u = &unlocking{done: make(chan struct{})}
		s.keys[file] = u
	}
	if s.asking == nil {
		s.asking = make(chan struct{}, 1)
	}
	s.mu.Unlock()
	if ok {
		select {
		case <-u.done:
			return u.key, u.err
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	defer close(u.done)
	select {
	case s.asking <- struct{}{}:
		defer func() { <-s.asking }()
	case <-ctx.Done():
		u.err = context.Cause(ctx)
		return nil, u.err
	}
	u.key, u.err = decrypt()
	return u.key, u.err
}
