package ssh

import (
	"context"
	"sync"
	"time"
)

// A phaser gives each phase of a connection its own deadline. Its context ends with the cause errTimeout
// when a phase takes too long.
type phaser struct {
	timeout time.Duration
	cancel  context.CancelCauseFunc

	mu    sync.Mutex // guards the fields below
	phase string
	timer *time.Timer
}

func newPhaser(ctx context.Context, timeout time.Duration) (context.Context, *phaser) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, &phaser{timeout: timeout, cancel: cancel}
}

// enter begins a phase and its deadline.
func (p *phaser) enter(phase string) { p.enterFor(phase, p.timeout) }

func (p *phaser) enterFor(phase string, limit time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.phase = phase
	if p.timer != nil {
		p.timer.Stop()
	}
	p.timer = time.AfterFunc(limit, func() { p.cancel(errTimeout(limit)) })
}

// pause stops the clock of the phase until the next enter.
func (p *phaser) pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer != nil {
		p.timer.Stop()
	}
}

func (p *phaser) current() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.phase
}

// end releases the timer and the context.
func (p *phaser) end() {
	p.pause()
	p.cancel(nil)
}
