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

// A running is a task in the rank that runs it, and the context of the function.
type running struct {
	comm    *Comm
	id      uint64 // of the run, the hub's
	src     uint32 // rank that submitted it
	fn      uint32
	flags   byte
	attempt byte // how often it was sent to a rank before
	options *taskOptions
	args    []byte

	slot  sync.Mutex // guards the next two; held while a slot is given up or awaited
	waits int        // of its goroutines for other tasks; it holds its slot while there are none
	over  bool       // its result is on the way: it has nothing to do with slots any more

	mu    sync.Mutex    // guards the rest
	done  chan struct{} // made when somebody asks for it
	err   error         // why the context ended
	after map[*func()]struct{}
}

// Deadline, Done, Err, Value and AfterFunc make it a context.Context whose descendants need no goroutine.
func (t *running) Deadline() (time.Time, bool) { return time.Time{}, false }

var closedChan = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

func (t *running) Done() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done == nil {
		if t.err != nil {
			return closedChan
		}
		t.done = make(chan struct{})
	}
	return t.done
}

func (t *running) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

func (t *running) Value(key any) any {
	switch key {
	case commKey:
		return t.comm
	case taskKey:
		return t
	}
	return nil
}

// AfterFunc is what package context uses in place of a goroutine.
func (t *running) AfterFunc(f func()) (stop func() bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		go f()
		return func() bool { return false }
	}
	if t.after == nil {
		t.after = make(map[*func()]struct{})
	}
	t.after[&f] = struct{}{}
	return func() bool {
		t.mu.Lock()
		defer t.mu.Unlock()
		_, waiting := t.after[&f]
		delete(t.after, &f)
		return waiting
	}
}

// cancel ends the context.
func (t *running) cancel() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return
	}
	t.err = context.Canceled
	if t.done != nil {
		close(t.done)
	}
	for f := range t.after {
		go (*f)()
	}
	t.after = nil
}

var errGoexit = errors.New("the function ended its goroutine (runtime.Goexit)")

// run calls the function and sends its result off, made in out's memory. It returns that memory, to be used again, and
// the time.
func (t *running) run(out []byte, began time.Duration) (_ []byte, now time.Duration) {
	out = append(out[:0], make([]byte, resultHeadLen)...)
	returned := false
	defer func() {
		if returned {
			return
		}
		end, err := statusError, errGoexit
		if p := recover(); p != nil {
			end, err = statusPanic, panicError(p)
		}
		now = uptime()
		t.send(append(make([]byte, resultHeadLen), encodeError(err, debug.Stack())...), end, now-began)
	}()
	end := statusOK
	result, err := t.call(out)
	now = uptime()
	if err == nil && len(result)-resultHeadLen > inlineLen {
		returned = true
		t.end()
		if err = t.comm.blobs.offer(t, result[resultHeadLen:], now-began); err == nil {
			return nil, now
		}
	}
	if err != nil {
		end, result = failure(err), append(out, encodeError(err, nil)...)
	}
	returned = true
	t.send(result, end, now-began)
	if len(result) > lentLen {
		return nil, now // given away
	}
	return result, now
}

// call gets the argument and calls the function.
func (t *running) call(out []byte) (result []byte, err error) {
	arg, given := t.args, false
	t.args = nil // what the context of the task is needed for may outlive it
	if t.flags&(flagBlob|flagShared) != 0 {
		if arg, given, err = t.comm.blobs.argument(t, t.flags, arg); err != nil {
			return nil, err
		}
	}
	return t.comm.fns[t.fn].run(t, arg, given, out)
}

func panicError(p any) error {
	if err, ok := p.(error); ok {
		return err
	}
	return fmt.Errorf("%v", p)
}

// end notes that the function has returned.
func (t *running) end() {
	t.slot.Lock()
	defer t.slot.Unlock()
	if t.over {
		return
	}
	t.over = true
	if t.waits > 0 { // a goroutine that it left behind waits still
		t.comm.server.regain()
	}
}

// send sends a result off, whose head it fills in.
func (t *running) send(b []byte, end status, ran time.Duration) {
	t.end()
	putResultHead(b, resultHead{status: end, attempt: t.attempt, ran: ran})
	t.comm.up.send(frame.Header{Kind: kindResult, Src: uint32(t.comm.rank), Dst: t.src, ID: t.id}, b)
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
	c.up.send(frame.Header{Kind: kindResume, Src: uint32(c.rank), ID: t.id}, nil)
	c.up.nudge()
}

// start is when the process began, for cheap monotonic times.
var start = time.Now()

func uptime() time.Duration { return time.Since(start) }
