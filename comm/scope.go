package comm

import (
	"context"
)

// A scope is a context, or a group in a context, and the calls submitted in it: watching the context once for all its
// calls is far cheaper than once for each. The Comm's mu guards it.
type scope struct {
	comm  *Comm
	key   scopeKey
	ctx   context.Context
	group *group // nil: none
	calls int
	ids   []uint64 // of calls, and of some that have left
	stop  func() bool
}

type scopeKey struct {
	done  <-chan struct{} // of the context; nil if that cannot end
	group string
}

// scopeOf returns the scope of a context and a group, nil if neither can end a call. c.mu is held.
func (c *Comm) scopeOf(ctx context.Context, groupName string) *scope {
	key := scopeKey{ctx.Done(), groupName}
	if key == (scopeKey{}) {
		return nil
	}
	if c.idle != nil && c.idle.key == key {
		return c.idle
	}
	s := c.scopes[key]
	if s == nil {
		s = &scope{comm: c, key: key, ctx: ctx}
		s.stop = context.AfterFunc(ctx, s.end)
		c.scopes[key] = s
		if groupName != "" {
			s.group = c.groupOf(groupName)
			s.group.scopes[s] = struct{}{}
		}
	}
	return s
}

// add puts a call in.
func (s *scope) add(k *call) {
	k.scope = s
	s.calls++
	if s.group != nil {
		s.group.calls++
	}
	if len(s.ids) == cap(s.ids) && len(s.ids) > 2*s.calls { // a call costs this once, at most
		live := s.ids[:0]
		for _, id := range s.ids {
			if k, ok := s.comm.calls.get(id); ok && k.scope == s {
				live = append(live, id)
			}
		}
		s.ids = live
	}
	s.ids = append(s.ids, k.id)
}

// leave takes one call out. The last scope to become empty stays, since the next call is likely to be of the same one.
func (s *scope) leave() {
	s.calls--
	c := s.comm
	if s.group != nil {
		if s.group.calls--; s.group.calls == 0 {
			c.settled()
		}
	}
	if s.calls > 0 {
		return
	}
	if c.room != nil { // a task that has none under way any more need not wait
		close(c.room)
		c.room = nil
	}
	if c.idle != nil && c.idle != s && c.idle.calls == 0 {
		c.idle.drop()
	}
	c.idle = s
}

// drop forgets a scope: calls to come get another.
func (s *scope) drop() {
	s.stop()
	if s.comm.idle == s {
		s.comm.idle = nil
	}
	if s.comm.scopes[s.key] == s {
		delete(s.comm.scopes, s.key)
	}
	if s.group != nil {
		delete(s.group.scopes, s)
		s.group.tidy()
	}
}

// end cancels all calls of a context that has ended.
func (s *scope) end() { s.comm.end([]*scope{s}, context.Cause(s.ctx)) }

// end cancels all calls of some scopes, whose time is proportional to their number.
func (c *Comm) end(scopes []*scope, cause error) {
	var calls, mine []*call
	c.mu.Lock()
	for _, s := range scopes {
		s.drop()
		for _, id := range s.ids {
			k, ok := c.calls.get(id)
			if !ok || k.scope != s || k.state.Load()&gone != 0 {
				continue
			}
			calls = append(calls, k)
			if c.withdraw(k) {
				mine = append(mine, k)
			}
		}
		if c.idle == s { // it has left empty: it is over
			c.idle = nil
		}
	}
	c.mu.Unlock()
	var fn *function // most calls are of one: they share an error
	var err error
	for _, k := range calls {
		if k.fn != fn {
			fn, err = k.fn, errorf("%s: %w", k.fn.name, cause)
		}
		k.fail(err)
	}
	for _, k := range mine {
		k.forget()
	}
	c.up.flush()
}

// cancelIn cancels all calls of a context, and group, that has not ended.
func (c *Comm) cancelIn(ctx context.Context, groupName string) {
	c.mu.Lock()
	s := c.scopes[scopeKey{ctx.Done(), groupName}]
	c.mu.Unlock()
	if s != nil {
		c.end([]*scope{s}, context.Canceled)
	}
}
