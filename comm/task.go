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
	attempt byte
	args    []byte

	mu    sync.Mutex
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

// run calls the function and sends its result off, made in out's memory. It returns that memory, to be used again.
func (t *running) run(out []byte) []byte {
	began := uptime()
	out = append(out[:0], make([]byte, resultHeadLen)...)
	returned := false
	defer func() {
		if returned {
			return
		}
		p := recover()
		end := statusPanic
		err := fmt.Errorf("%v", p)
		if e, ok := p.(error); ok {
			err = e
		}
		if p == nil {
			end, err = statusError, errGoexit
		}
		body := append(make([]byte, resultHeadLen), encodeError(err, debug.Stack())...)
		putResultHead(body, end, uptime()-began)
		t.send(body)
	}()
	end := statusOK
	result, err := t.comm.fns[t.fn].run(t, t.args, out)
	if err == nil && len(result) > maxLen {
		err = fmt.Errorf("the result has %d bytes, at most %d", len(result)-resultHeadLen, maxLen-resultHeadLen)
	}
	if err != nil {
		end, result = statusError, append(out, encodeError(err, nil)...)
	}
	returned = true
	putResultHead(result, end, uptime()-began)
	t.send(result)
	if len(result) > lentLen {
		return nil // given away
	}
	return result
}

// send sends a result off.
func (t *running) send(b []byte) {
	t.comm.up.send(frame.Header{Kind: kindResult, Src: uint32(t.comm.rank), Dst: t.src, ID: t.id}, b)
}

// yield gives the slot of the task that ctx belongs to, if any, to other tasks until the returned function is called.
func yield(ctx context.Context) (resume func()) {
	t := taskOf(ctx)
	if t == nil {
		return func() {}
	}
	c := t.comm
	head := frame.Header{Src: uint32(c.rank), ID: t.id}
	head.Kind = kindYield
	c.up.send(head, nil)
	c.up.flush()
	c.server.yield()
	return func() {
		c.server.resume()
		head.Kind = kindResume
		c.up.send(head, nil)
		c.up.nudge()
	}
}

// start is when the process began, for cheap monotonic times.
var start = time.Now()

func uptime() time.Duration { return time.Since(start) }
