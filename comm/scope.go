package comm

import (
	"context"
	"fmt"
)

// A scope is a context and the calls submitted in it: watching the context once for all its calls is far cheaper than
// once for each. The Comm's mu guards it.
type scope struct {
	comm  *Comm
	ctx   context.Context
	done  <-chan struct{}
	calls int
	stop  func() bool
}

// scopeOf returns the scope of a context that can end. c.mu is held.
func (c *Comm) scopeOf(ctx context.Context, done <-chan struct{}) *scope {
	if c.idle != nil && c.idle.done == done {
		return c.idle
	}
	s := c.scopes[done]
	if s == nil {
		s = &scope{comm: c, ctx: ctx, done: done}
		s.stop = context.AfterFunc(ctx, s.end)
		c.scopes[done] = s
	}
	return s
}

// leave takes one call out. The last scope to become empty stays, since the next call is likely to be of the same context.
func (s *scope) leave() {
	s.calls--
	if s.calls > 0 {
		return
	}
	c := s.comm
	if c.idle != nil && c.idle != s && c.idle.calls == 0 {
		c.idle.drop()
	}
	c.idle = s
}

func (s *scope) drop() {
	s.stop()
	if s.comm.scopes[s.done] == s {
		delete(s.comm.scopes, s.done)
	}
}

// end cancels all calls of a context that has ended.
func (s *scope) end() {
	c := s.comm
	cause := context.Cause(s.ctx)
	var calls, mine []*call
	c.mu.Lock()
	if c.idle == s {
		c.idle = nil
	}
	delete(c.scopes, s.done)
	if s.calls > 0 {
		for k := range c.calls.all {
			if k.scope != s || k.state.Load()&gone != 0 {
				continue
			}
			k.scope = nil
			calls = append(calls, k)
			if c.withdraw(k) {
				mine = append(mine, k)
			}
		}
	}
	c.mu.Unlock()
	for _, k := range calls {
		k.fail(fmt.Errorf("comm: %s: %w", k.fn.name, cause))
	}
	for _, k := range mine {
		k.forget()
	}
	c.up.flush()
}
