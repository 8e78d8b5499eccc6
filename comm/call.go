package comm

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"unsafe"

	"github.com/pprun/pprun/comm/frame"
)

// A call is a task at the rank that submitted it: a future without its type.
type call struct {
	comm  *Comm
	fn    *function
	id    uint64
	scope *scope // of the context it was submitted in; nil if that cannot end
	wait  atomic.Pointer[waiter]
	state atomic.Uint32
	rank  int32               // that ran it
	body  []byte              // the result, or the wireError
	err   *error              // of statusFailed; behind a pointer, since few have one
	head  [resultHeadLen]byte // with rank, body and err it is set before wait is finished, and not changed after

	size   uint32 // of its argument
	nested bool   // submitted by a running task
	large  bool   // it has to do with blobs
	flags  byte   // of the task
	small  [smallLen]byte
}

// smallLen is how many bytes of a task, or of a result, need no memory of their own. With it a Future takes 128 bytes.
const smallLen = 17

// Bits of call.state. An id may be used again only when the hub has got both the task and the word that it is canceled:
// whoever sets the second bit sends that word.
const (
	sent uint32 = 1 << iota // the task is on its way to the hub
	gone                    // it ended here, canceled; set with the Comm's mu held
)

// A waiter hears of the end of a call, once. The same one may wait for several calls if it is the first of each.
type waiter struct {
	fire func(*call) // must not block
	next *waiter
}

// finished stands in call.wait once a call has ended.
var finished = new(waiter)

func (k *call) ended() bool { return k.wait.Load() == finished }

// status is how the call ended.
func (k *call) status() status { return status(k.head[0]) }

// await lets w hear of the end; it says false, and does nothing, if the call has ended.
func (k *call) await(w *waiter) bool {
	for {
		first := k.wait.Load()
		if first == finished {
			return false
		}
		next := w
		if first != nil {
			next = &waiter{fire: w.fire, next: first}
		}
		if k.wait.CompareAndSwap(first, next) {
			return true
		}
	}
}

// complete tells all waiters.
func (k *call) complete() {
	for w := k.wait.Swap(finished); w != nil; w = w.next {
		w.fire(k)
	}
}

// fail ends the call here; it has left the table or never was in it.
func (k *call) fail(err error) {
	putResultHead(k.head[:], resultHead{status: statusFailed})
	k.err, k.rank = &err, -1
	k.complete()
}

// failed says whether the call ended in an error.
func (k *call) failed() bool { return k.status() != statusOK }

// abandon ends the call with err, if it has not ended.
func (k *call) abandon(err error) {
	c := k.comm
	c.mu.Lock()
	live, ok := c.calls.get(k.id)
	if !ok || live != k || k.state.Load()&gone != 0 {
		c.mu.Unlock()
		return
	}
	mine := c.withdraw(k)
	c.mu.Unlock()
	k.fail(err)
	if mine {
		k.forget()
		c.up.nudge()
	}
}

// withdraw marks a call as canceled; it says whether the caller is to call forget. c.mu is held.
func (c *Comm) withdraw(k *call) (mine bool) {
	c.discount(k)
	return k.state.Or(gone)&sent != 0
}

// forget tells the hub that nobody wants the result of a call any more, and frees its id.
func (k *call) forget() {
	c := k.comm
	c.up.send(frame.Header{Kind: kindCancel, Src: uint32(c.rank), ID: k.id}, nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls.remove(k.id)
	c.makeRoom()
}

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

// outcome returns the error of a call that has ended.
func (k *call) outcome() error {
	switch k.status() {
	case statusOK:
		return nil
	case statusFailed:
		return *k.err
	case statusLost:
		lost := new(LostError)
		if err := cborDec.Unmarshal(k.body, lost); err != nil {
			return errorf("%s: a loss that cannot be decoded: %w", k.fn.name, err)
		}
		return lost
	}
	return k.taskError(parseResultHead(k.head[:]), k.body)
}

// taskError makes the error of a function that failed.
func (k *call) taskError(h resultHead, body []byte) error {
	stack, err := decodeError(body)
	return &TaskError{
		Func: k.fn.name, ID: k.id, Rank: int(k.rank), Node: k.comm.nodeName(int(k.rank)),
		Attempt: int(h.attempt), Panic: h.status == statusPanic, Stack: stack, Err: err,
	}
}

// decode sets the value at p to a result. last: nobody gets it again, so a long one need not be copied.
func (k *call) decode(body []byte, last bool, p unsafe.Pointer) error {
	decode := k.fn.res.decode
	if last && len(body) > lentLen { // it was given to us
		decode = k.fn.res.adopt
	}
	if err := decode(body, p); err != nil {
		return errorf("result of %s from rank %d: %w", k.fn.name, k.rank, err)
	}
	return nil
}
