package comm

import (
	"sync"

	"github.com/pprun/pprun/comm/frame"
)

// Questions are what a rank has asked others and not been told yet, and what it is asked and answers later.
type questions struct {
	mu      sync.Mutex // guards asking, and is held to add to answers
	asking  table[chan answer]
	answers series // to be given
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

// later has f called soon, after all others.
func (q *questions) later(f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.answers.len() < maxAsked {
		q.answers.add(f)
	}
}

// close waits for the answer that is being given, and lets no more begin.
func (q *questions) close() { q.answers.stop() }

func askHeader(kind frame.Kind, src, dst int, question uint64) frame.Header {
	return frame.Header{Kind: kind, Src: uint32(src), Dst: uint32(dst), ID: question}
}
