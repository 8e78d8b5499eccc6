package comm

import (
	"encoding/binary"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// A chunkRun is a chunk on its way through a runner.
type chunkRun struct {
	task   *running
	start  time.Duration
	budget time.Duration
	args   []byte // of the elements to come
	left   int    // how many
	out    []byte // head of the result, those of the elements that were run
	ran    int

	life   *life         // of the element that is running
	at     int           // of its result in out
	began  time.Duration // it, and
	waited time.Duration // the time that the task had waited before
}

const (
	maxChunkResult = 4 << 20 // bytes of the results of a chunk, beyond which it comes back unfinished
	maxElement     = 1 << 30 // bytes of the result of an element
)

var errLongElement = fmt.Errorf("a result of more than %d bytes in a chunk: leave Chunk out", maxElement)

// runChunk is run for a chunk.
func (t *running) runChunk(out []byte, began time.Duration) ([]byte, time.Duration) {
	r := &chunkRun{task: t, out: append(out, make([]byte, chunkRanLen)...), start: began, began: began}
	args, _, err := t.argument()
	if err == nil {
		r.left, r.budget, r.args, err = parseChunk(args)
	}
	if err != nil {
		now := uptime()
		return t.deliver(appendError(out, err, nil), failure(err), now-began), now
	}
	r.finish()
	return r.out, r.began
}

// finish runs what is left and sends the result off. Where a function ends its goroutine another one goes on.
func (r *chunkRun) finish() {
	returned := false
	defer func() {
		if !returned {
			r.end(appendError(r.out, errGoexit, debug.Stack()), statusError)
			var rest sync.WaitGroup
			rest.Go(r.finish)
			rest.Wait()
		}
	}()
	for r.left > 0 && (r.ran == 0 || !r.pause()) {
		r.element()
	}
	returned = true
	t := r.task
	t.life.returned()
	binary.LittleEndian.PutUint32(r.out[resultHeadLen:], uint32(r.ran))
	r.out = t.deliver(r.out, statusOK, r.began-r.start)
}

// pause says whether the chunk is to come back unfinished.
func (r *chunkRun) pause() bool {
	return r.budget > 0 && r.began-r.start > r.budget || len(r.out) > maxChunkResult || r.task.life.Err() != nil
}

// element runs the next element, again if it fails and may be retried.
func (r *chunkRun) element() {
	t := r.task
	n := chunkArgEnd(r.args)
	arg := r.args[4:n:n]
	r.args = r.args[n:]
	r.left--
	r.at = len(r.out)
	for again := t.options.Retries; ; again-- {
		r.life = &life{task: t, attempt: t.life.attempt + byte(t.options.Retries-again)}
		alive := t.life.adopt(r.life)
		r.out = append(r.out[:r.at], make([]byte, chunkResultLen)...)
		out, end := t.call(r.life, r.began, arg, false, r.out)
		if end == statusOK && len(out)-len(r.out) > maxElement {
			out, end = appendError(r.out, errLongElement, nil), statusNoRetry
		}
		if end == statusOK || end == statusNoRetry || again == 0 || !alive {
			r.end(out, end)
			return
		}
		r.life.returned()
	}
}

// end notes the result of an element.
func (r *chunkRun) end(out []byte, end status) {
	r.life.returned()
	now := uptime()
	r.task.slot.Lock()
	waited := r.task.waitedFor()
	r.task.slot.Unlock()
	putChunkResult(out[r.at:], resultHead{status: end, attempt: r.life.attempt, ran: now - r.began - (waited - r.waited)})
	r.out, r.began, r.waited = out, now, waited
	r.ran++
}

// calls returns how often a task calls its function, as far as the hub can see.
func (t *task) calls() int {
	h := parseTaskHead(t.payload)
	if at := taskHeadLen + int(h.options); h.flags&(flagChunk|flagBlob) == flagChunk && len(t.payload) >= at+chunkHeadLen {
		return int(min(maxChunk, binary.LittleEndian.Uint32(t.payload[at:])))
	}
	return 1
}

// ranOnce returns how long one of the calls took, by the first part of the result.
func (t *task) ranOnce(result []byte) time.Duration {
	h := parseResultHead(result)
	if body := result[resultHeadLen:]; t.calls() > 1 && h.status == statusOK && len(body) >= chunkRanLen {
		return h.ran / time.Duration(max(1, chunkRan(body)))
	}
	return h.ran
}
