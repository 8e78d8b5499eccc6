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
	result, err := t.comm.fns[t.fn].run(t, t.args, out)
	if err == nil && len(result) > maxLen {
		err = fmt.Errorf("the result has %d bytes, at most %d", len(result)-resultHeadLen, maxLen-resultHeadLen)
	}
	if err != nil {
		end, result = failure(err), append(out, encodeError(err, nil)...)
	}
	returned = true
	now = uptime()
	t.send(result, end, now-began)
	if len(result) > lentLen {
		return nil, now // given away
	}
	return result, now
}

func panicError(p any) error {
	if err, ok := p.(error); ok {
		return err
	}
	return fmt.Errorf("%v", p)
}

// send sends a result off, whose head it fills in.
func (t *running) send(b []byte, end status, ran time.Duration) {
	t.slot.Lock()
	t.over = true
	if t.waits > 0 { // a goroutine that it left behind waits still
		t.comm.server.regain()
	}
	t.slot.Unlock()
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
