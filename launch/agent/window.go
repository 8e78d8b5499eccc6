package agent

import (
	"fmt"
	"sync"
)

// window is the credit of a flow-controlled direction, in bytes.
type window struct {
	mu     sync.Mutex
	more   *sync.Cond
	left   int64
	closed bool
}

func newWindow(n int64) *window {
	w := &window{left: n}
	w.more = sync.NewCond(&w.mu)
	return w
}

// take waits for n bytes of credit. It returns false when the window is closed.
func (w *window) take(n int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.left < n && !w.closed {
		w.more.Wait()
	}
	w.left -= n
	return !w.closed
}

// add gives credit back.
func (w *window) add(n uint64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n > OutputWindow || w.left+int64(n) > OutputWindow {
		return fmt.Errorf("credit of %d bytes beyond the window", n)
	}
	w.left += int64(n)
	w.more.Broadcast()
	return nil
}

func (w *window) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.more.Broadcast()
}
