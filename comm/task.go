package comm

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/pprun/pprun/comm/frame"
)

// A running is a task in the rank that runs it.
type running struct {
	comm    *Comm
	id      uint64 // of the run, the hub's
	src     uint32 // rank that submitted it
	fn      uint32
	options *taskOptions
	args    []byte
	life    life // the function's context; that of a chunk has those of its elements below it

	flags  byte
	over   bool          // its result is on the way: it has nothing to do with slots any more; slot guards it and what follows
	waits  int32         // of its goroutines for other tasks; it holds its slot while there are none
	slot   sync.Mutex    // held while a slot is given up or awaited
	waited time.Duration // time without a slot; while it has none, less the uptime since when
}

var errGoexit = errors.New("the function ended its goroutine (runtime.Goexit)")

// run calls the function and sends its result off, made in out's memory. It returns that memory, to be used again, and
// the time.
func (t *running) run(out []byte, began time.Duration) (_ []byte, now time.Duration) {
	out = append(out[:0], make([]byte, resultHeadLen)...)
	if t.flags&flagChunk != 0 {
		return t.runChunk(out, began)
	}
	returned := false
	defer func() {
		if !returned {
			t.life.returned()
			t.deliver(appendError(make([]byte, resultHeadLen), errGoexit, debug.Stack()), statusError, uptime()-began)
		}
	}()
	result, end := t.runOne(out, began)
	returned = true
	t.life.returned()
	now = uptime()
	return t.deliver(result, end, now-began), now
}

// runOne gets the argument and calls the function with it.
func (t *running) runOne(out []byte, began time.Duration) (result []byte, end status) {
	arg, given, err := t.argument()
	if err != nil {
		return appendError(out, err, nil), failure(err)
	}
	return t.call(&t.life, began, arg, given, out)
}

// argument gets the argument. given: it is the caller's own.
func (t *running) argument() (arg []byte, given bool, err error) {
	arg = t.args
	t.args = nil // what the context of the task is needed for may outlive it
	if t.flags&(flagBlob|flagShared) != 0 {
		return t.comm.blobs.argument(&t.life, t.flags, arg)
	}
	return arg, false, nil
}

// call calls the function once, at a time, and appends its result or its error to out.
func (t *running) call(l *life, began time.Duration, arg []byte, given bool, out []byte) (result []byte, end status) {
	defer func() {
		if p := recover(); p != nil {
			result, end = appendError(out, panicError(p), debug.Stack()), statusPanic
		}
	}()
	if !l.begin(began, t.options.Timeout) {
		return appendError(out, l.Err(), nil), statusNoRetry
	}
	result, err := t.comm.fns[t.fn].run(l, arg, given, out)
	if err != nil {
		return appendError(out, err, nil), failure(err)
	}
	return result, statusOK
}

func appendError(out []byte, err error, stack []byte) []byte {
	return append(out, encodeError(err, stack)...)
}

func panicError(p any) error {
	if err, ok := p.(error); ok {
		return err
	}
	return fmt.Errorf("%v", p)
}

// deliver sends a result off, whose head it fills in. It returns the memory of the result if that was only lent.
func (t *running) deliver(result []byte, end status, ran time.Duration) []byte {
	ran -= t.end()
	if end == statusOK && len(result)-resultHeadLen > inlineLen {
		err := t.comm.blobs.offer(t, result[resultHeadLen:], ran)
		if err == nil {
			return nil
		}
		result, end = appendError(make([]byte, resultHeadLen), err, nil), statusError
	}
	t.send(0, result, end, ran)
	if len(result) > lentLen {
		return nil
	}
	return result
}

// send sends a result as it is.
func (t *running) send(flags uint8, result []byte, end status, ran time.Duration) {
	putResultHead(result, resultHead{status: end, attempt: t.life.attempt, ran: ran})
	t.comm.up.send(frame.Header{Kind: kindResult, Flags: flags, Src: uint32(t.comm.rank), Dst: t.src, ID: t.id}, result)
}

// end notes that the function has returned. It returns how long it was without a slot.
func (t *running) end() (waited time.Duration) {
	t.slot.Lock()
	defer t.slot.Unlock()
	waited = t.waitedFor()
	if t.over {
		return waited
	}
	t.over = true
	if t.waits > 0 { // a goroutine that it left behind waits still
		t.comm.server.regain()
	}
	return waited
}

// waitedFor returns how long the task has been without a slot. t.slot is held.
func (t *running) waitedFor() time.Duration {
	if t.waits > 0 && !t.over {
		return t.waited + uptime()
	}
	return t.waited
}

// yield gives the slot of the task that ctx belongs to, if any, to other tasks until the returned function is called.
func yield(ctx context.Context) (resume func()) {
	t := taskOf(ctx)
	if t == nil {
		return func() {}
	}
	t.yield()
	return t.resume
}

func (t *running) yield() {
	t.slot.Lock()
	defer t.slot.Unlock()
	if t.waits++; t.waits > 1 || t.over {
		return
	}
	t.waited -= uptime()
	c := t.comm
	c.up.send(frame.Header{Kind: kindYield, Src: uint32(c.rank), ID: t.id}, nil)
	c.up.flush()
	c.server.yield()
}

func (t *running) resume() {
	t.slot.Lock()
	defer t.slot.Unlock()
	if t.waits--; t.waits > 0 || t.over {
		return
	}
	c := t.comm
	c.server.resume()
	t.waited += uptime()
	c.up.send(frame.Header{Kind: kindResume, Src: uint32(c.rank), ID: t.id}, nil)
	c.up.nudge()
}

// start is when the process began, for cheap monotonic times.
var start = time.Now()

func uptime() time.Duration { return time.Since(start) }
