package main

import (
	"bytes"
	"sync"
)

// text is what somebody writes while others read it.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (t *text) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(b)
}

func (t *text) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}
