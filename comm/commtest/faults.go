package commtest

import (
	"net"
	"sync"
	"time"

	"github.com/pprun/pprun/comm"
	"github.com/pprun/pprun/comm/frame"
)

// A Frame is what travels on the link between a rank and the hub, which is in rank 0.
type Frame struct {
	Rank  int    // whose link it is
	Up    bool   // from the rank to the hub
	Kind  string // "hello", "welcome", "submit", "run", "result", "cancel", "yield", "resume", "message", "members", ...
	Index int    // how many frames went this way before it, since the rank joined
	Len   int    // bytes of payload
}

// An Action is what becomes of a frame.
type Action struct {
	kind  actionKind
	delay time.Duration
}

type actionKind int

const (
	pass actionKind = iota
	drop
	corrupt
	twice
	delay
)

var (
	Pass    = Action{}
	Drop    = Action{kind: drop}    // it never arrives
	Corrupt = Action{kind: corrupt} // it makes no sense when it arrives: whoever reads it gives the link up
	Twice   = Action{kind: twice}   // it arrives twice
)

// Delay holds a frame, and those that go the same way after it, for a while.
func Delay(d time.Duration) Action { return Action{delay, d} }

// faults decides what becomes of frames.
type faults struct {
	mu     sync.Mutex // held while decide runs
	decide func(Frame) Action
	once   sync.Once
	ended  chan struct{} // closed at the end of the job
}

func (x *faults) set(f func(Frame) Action) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.decide = f
}

func (x *faults) over() chan struct{} {
	x.once.Do(func() { x.ended = make(chan struct{}) })
	return x.ended
}

// end lets all pass, also what is held: the job is to end in order.
func (x *faults) end() {
	x.set(nil)
	close(x.over())
}

func (x *faults) action(f Frame) Action {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.decide == nil || f.Kind == "bye" {
		return Pass
	}
	return x.decide(f)
}

// anything lets frames of all kinds pass: judging them is not a link's affair.
var anything = func() (l frame.Limits) {
	for i := range l {
		l[i] = frame.MaxPayload
	}
	return l
}()

// forward moves frames from one connection to another until either ends, and ends both. f says which way they go.
func (x *faults) forward(f Frame, from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	r := frame.NewReader(from, &anything)
	for ; ; f.Index++ {
		h, payload, err := r.Next()
		if err != nil {
			return
		}
		f.Kind, f.Len = comm.FrameName(h.Kind), len(payload)
		copies := 1
		switch a := x.action(f); a.kind {
		case drop:
			copies = 0
		case twice:
			copies = 2
		case corrupt:
			h.Kind = 255
		case delay:
			x.hold(a.delay)
		}
		for range copies {
			if frame.Write(to, h, payload) != nil {
				return
			}
		}
	}
}

// hold waits, but not beyond the end of the job.
func (x *faults) hold(d time.Duration) {
	select {
	case <-time.After(d):
	case <-x.over():
	}
}
