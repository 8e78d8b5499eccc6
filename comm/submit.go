package comm

import (
	"context"
	"fmt"
	"math"

	"github.com/pprun/pprun/comm/frame"
)

// submit sends a task off. payload belongs to the call from here on: room for the task's head, the options of p, and the
// argument.
func (c *Comm) submit(ctx context.Context, k *call, p *plan, payload []byte, dst uint32) {
	alone, payload, err := c.prepare(ctx, k, p, payload)
	if err != nil {
		if k.large {
			c.blobs.done(k)
		}
		k.fail(errorf("submit %s: %w", k.fn.name, err))
		return
	}
	c.up.send(frame.Header{Kind: kindSubmit, Src: uint32(c.rank), Dst: dst, ID: k.id}, payload)
	if k.state.Or(sent)&gone != 0 {
		k.forget()
	}
	if alone {
		c.up.flush()
	} else {
		c.up.nudge()
	}
}

// prepare makes what the hub gets of a call and puts it into the table. alone: it is the only one there.
func (c *Comm) prepare(ctx context.Context, k *call, p *plan, payload []byte) (alone bool, _ []byte, err error) {
	k.size = uint32(min(len(payload), math.MaxUint32))
	if at := taskHeadLen + len(p.task); len(payload)-at > inlineLen {
		if payload, err = c.blobs.keepArgument(k, payload, at); err != nil {
			return false, nil, err
		}
	}
	k.nested = k.flags&flagNested != 0
	putTaskHead(payload, taskHead{fn: k.fn.index, flags: k.flags, options: uint16(len(p.task))})
	alone, err = c.enter(ctx, k, p.group)
	return alone, payload, err
}

// nested returns the flag of tasks that a running task submits.
func nested(ctx context.Context) (flags byte) {
	if taskOf(ctx) != nil {
		return flagNested
	}
	return 0
}

// enter puts a call into the table, once there is room. alone: it is the only one.
func (c *Comm) enter(ctx context.Context, k *call, group string) (alone bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.err == nil && c.crowded(ctx, k, group) {
		if err := c.awaitRoom(ctx); err != nil {
			return false, err
		}
	}
	switch {
	case c.err != nil:
		return false, c.err
	case c.closed.Load() && !k.nested:
		return false, ErrClosed
	}
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	k.id = c.calls.add(k)
	c.live++
	c.bytes += int(k.size)
	if s := c.scopeOf(ctx, group); s != nil {
		s.add(k)
	}
	return c.calls.len() == 1, nil
}

// crowded says whether a call must wait for room. A task may always have one under way: others may wait for that which it
// waits for, and then nobody would make room. c.mu is held.
func (c *Comm) crowded(ctx context.Context, k *call, group string) bool {
	n := c.calls.len()
	if n == 0 || n < c.maxTasks && c.bytes+int(k.size) <= c.maxBytes {
		return false
	}
	s := c.scopes[scopeKey{ctx.Done(), group}]
	return !k.nested || s != nil && s.calls > 0
}

// awaitRoom gives c.mu up until there is room again. A task gives its slot up too.
func (c *Comm) awaitRoom(ctx context.Context) error {
	if c.room == nil {
		c.room = make(chan struct{})
	}
	room := c.room
	c.mu.Unlock()
	defer c.mu.Lock()
	c.up.flush()
	defer yield(ctx)()
	select {
	case <-room:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// leave takes a call out of the table. c.mu is held.
func (c *Comm) leave(k *call) {
	c.discount(k)
	c.calls.remove(k.id)
}

// discount takes a call out of the books. c.mu is held.
func (c *Comm) discount(k *call) {
	c.bytes -= int(k.size)
	if k.large {
		c.blobs.done(k)
	}
	c.parts.drop(kindResult, uint32(k.rank), uint32(c.rank), k.id)
	if s := k.scope; s != nil {
		s.leave()
	}
	if c.live--; c.live == 0 {
		c.settled()
	}
}

// makeRoom wakes those who wait for room once an eighth of it is free. c.mu is held.
func (c *Comm) makeRoom() {
	if c.room != nil && (c.err != nil || c.calls.len() <= c.maxTasks-c.maxTasks/8 && c.bytes <= c.maxBytes-c.maxBytes/8) {
		close(c.room)
		c.room = nil
	}
}

// finish takes a result, or a part of one.
func (c *Comm) finish(h frame.Header, payload []byte) error {
	c.mu.Lock()
	k, ok := c.calls.get(h.ID)
	if !ok || k.state.Load()&gone != 0 { // it was canceled meanwhile
		c.mu.Unlock()
		return nil
	}
	k.rank = int32(h.Src)
	payload, ok, err := c.parts.add(h, payload)
	if !ok {
		c.mu.Unlock()
		return err
	}
	if len(payload) < resultHeadLen || status(payload[0]) >= statusFailed {
		c.mu.Unlock()
		return fmt.Errorf("a result of %d bytes that makes no sense", len(payload))
	}
	body := payload[resultHeadLen:]
	if h.Flags&flagTaken != 0 {
		if body, ok = c.blobs.collected(k, int(h.Src)); !ok {
			c.leave(k)
			c.makeRoom()
			c.mu.Unlock()
			k.fail(fmt.Errorf("comm: %s: rank %d has withdrawn its result", k.fn.name, h.Src))
			return nil
		}
	}
	k.head = [resultHeadLen]byte(payload)
	c.leave(k)
	c.makeRoom()
	c.count(k, body)
	c.mu.Unlock()
	if len(body) > lentLen-resultHeadLen {
		k.body = body
	} else {
		k.body = append(k.small[:0], body...)
	}
	k.complete()
	return nil
}
