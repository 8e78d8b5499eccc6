package comm

import (
	"errors"
	"fmt"

	"github.com/pprun/pprun/comm/frame"
)

// Close leaves the job. It is collective: it returns when all ranks have called it, and until then this rank serves
// tasks; what this rank has submitted and not yet got fails with ErrClosed. Close returns an error if a rank was lost.
func (c *Comm) Close() error { return c.close(true) }

func (c *Comm) close(whole bool) error {
	if within(taskFrame, callbackFrame) {
		return errors.New("comm: Close in a task or callback, which it would wait for")
	}
	if c.closed.Swap(true) {
		return ErrClosed
	}
	c.stopSubmitting()
	c.up.send(frame.Header{Kind: kindBye, Src: uint32(c.rank)}, nil)
	c.up.flush()
	var err error
	select {
	case <-c.bye:
	case <-c.broken:
		err = c.err
	}
	c.fail(ErrClosed)
	c.server.cancelAll()
	if whole {
		c.server.close()
		c.memo.work.Wait()
		c.blobs.work.Wait()
		c.then.wait()
	}
	c.questions.close()
	c.cleanup(err)
	forget(c)
	return failed(c.launched, err)
}

// stopSubmitting cancels what this rank has submitted. Tasks that it runs for others may still submit.
func (c *Comm) stopSubmitting() {
	c.mu.Lock()
	var calls []*call
	for k := range c.calls.all {
		if !k.nested {
			calls = append(calls, k)
		}
	}
	c.mu.Unlock()
	for _, k := range calls {
		k.abandon(ErrClosed)
	}
}

// Abort gives the job up: what is pending fails in every rank with a LostError that names this rank and err. Close then
// returns at once.
func (c *Comm) Abort(err error) {
	text := fmt.Sprintf("aborted: %v", err)
	c.up.send(frame.Header{Kind: kindAbort, Src: uint32(c.rank)}, []byte(text[:min(len(text), lentLen)]))
	c.up.flush()
	c.fail(&LostError{Rank: c.rank, Node: c.nodeName(c.rank), Reason: text})
}

// fail ends all that is pending, and all that is to come, with err. The first call counts.
func (c *Comm) fail(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	var calls []*call
	for k := range c.calls.all {
		if k.state.Load()&gone == 0 {
			c.leave(k)
			calls = append(calls, k)
		}
	}
	c.makeRoom()
	c.parts = assembler{}
	c.mu.Unlock()
	if !errors.Is(err, ErrClosed) {
		close(c.broken)
	}
	for _, k := range calls {
		k.fail(err)
	}
	c.mail.fail(err)
	c.blobs.fail(err)
	c.memo.fail(err)
	c.server.cancelAll()
}
