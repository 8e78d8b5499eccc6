package comm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// A group is a name for calls of this rank. The Comm's mu guards it.
type group struct {
	comm   *Comm
	name   string
	calls  int
	thens  int // callbacks that are to come, of calls that may have ended
	scopes map[*scope]struct{}
}

// groupOf returns a group, new if there is none. c.mu is held.
func (c *Comm) groupOf(name string) *group {
	g := c.groups[name]
	if g == nil {
		g = &group{comm: c, name: name, scopes: make(map[*scope]struct{})}
		c.groups[name] = g
	}
	return g
}

// tidy forgets a group that has nothing left.
func (g *group) tidy() {
	if len(g.scopes) == 0 && g.thens == 0 && g.comm.groups[g.name] == g {
		delete(g.comm.groups, g.name)
	}
}

// settled wakes those who wait for groups, or for everything, to look again. c.mu is held.
func (c *Comm) settled() {
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// expect notes that a callback is to come for a call; the returned function notes that it is over.
func (c *Comm) expect(k *call) (over func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var g *group
	if k.scope != nil && k.scope.group != nil {
		g = c.groupOf(k.scope.group.name)
		g.thens++
	}
	c.thens++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if g != nil {
			g.thens--
			g.tidy()
		}
		c.thens--
		c.settled()
	}
}

// errWaitInTask is why Wait is not for tasks: it might wait for the task that it is called in.
var errWaitInTask = errors.New("comm: Wait in a task or callback, which it might wait for itself: wait for the futures with Get, Gather or Completed")

// Wait returns when all tasks of the groups that this rank submitted have ended, and the functions that were given to
// Then of their futures have returned; without groups, when all that this rank submitted has. How they ended does not
// matter; the error is that of ctx, or why the job is lost. A group that has no tasks is no reason to wait. Wait must not
// be called in a task or in a function given to Then.
func (c *Comm) Wait(ctx context.Context, groups ...string) error {
	if InTask(ctx) || within(taskFrame, callbackFrame) {
		return errWaitInTask
	}
	for {
		changed, err := c.unsettled(groups)
		if changed == nil {
			return err
		}
		c.up.flush()
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// unsettled returns nil if nothing is left to wait for, else a channel that is closed when that may have changed.
func (c *Comm) unsettled(groups []string) (<-chan struct{}, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	busy := len(groups) == 0 && c.live+c.thens > 0
	for _, name := range groups {
		if g := c.groups[name]; g != nil && g.calls+g.thens > 0 {
			busy = true
		}
	}
	if !busy {
		if errors.Is(c.err, ErrClosed) {
			return nil, nil
		}
		return nil, c.err
	}
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	return c.changed, nil
}

// Cancel cancels all tasks of a group that this rank submitted, as Future.Cancel does one. It takes time in proportion to
// their number, and may be called again for tasks that come later.
func (c *Comm) Cancel(group string) {
	c.mu.Lock()
	var scopes []*scope
	if g := c.groups[group]; g != nil {
		scopes = slices.Collect(maps.Keys(g.scopes))
	}
	c.mu.Unlock()
	c.end(scopes, fmt.Errorf("group %s: %w", group, context.Canceled))
}
