package comm

import (
	"sync"

	"github.com/pprun/pprun/comm/frame"
)

// Questions are what a rank has asked others and not been told yet, and what it is asked and answers later.
type questions struct {
	mu     sync.Mutex
	asking table[chan answer]
	queue  []func() // answers to be given
	busy   bool     // a goroutine gives them
	over   bool
	work   sync.WaitGroup
}

type answer struct {
	rank int
	text string
}

// maxAsked is how many answers may be due: who asks more gets none.
const maxAsked = 64

// begin numbers a question that n ranks will answer, end forgets it.
func (q *questions) begin(n int) (id uint64, answers <-chan answer) {
	q.mu.Lock()
	defer q.mu.Unlock()
	a := make(chan answer, n)
	return q.asking.add(a), a
}

func (q *questions) end(id uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.asking.remove(id)
}

// answered takes an answer. One too many, or too late, is dropped.
func (q *questions) answered(id uint64, a answer) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if answers, ok := q.asking.get(id); ok {
		select {
		case answers <- a:
		default:
		}
	}
}

// later has f called soon, by a goroutine that calls one after another.
func (q *questions) later(f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.over || len(q.queue) == maxAsked {
		return
	}
	q.queue = append(q.queue, f)
	if !q.busy {
		q.busy = true
		q.work.Go(q.run)
	}
}

func (q *questions) run() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.queue) > 0 {
		f := q.queue[0]
		q.queue = q.queue[1:]
		q.mu.Unlock()
		f()
		q.mu.Lock()
	}
	q.busy = false
}

// close waits for the answers that are being given, and lets no more begin.
func (q *questions) close() {
	q.mu.Lock()
	q.over, q.queue = true, nil
	q.mu.Unlock()
	q.work.Wait()
}

func askHeader(kind frame.Kind, src, dst int, question uint64) frame.Header {
	return frame.Header{Kind: kind, Src: uint32(src), Dst: uint32(dst), ID: question}
}
