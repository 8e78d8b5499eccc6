package comm

import (
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
