package comm

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/pprun/pprun/comm/frame"
)

// A reader handles what comes over one link of the hub. It takes the hub's lock once for all the frames that have
// arrived together, and flushes what they caused when there are no more.
type reader struct {
	hub     *hub
	link    *link
	handled int    // frames since hub.mu was taken; 0: it is not held
	touched []port // to be flushed
}

// maxHandled is how many frames are handled before others get the lock.
const maxHandled = 128

// read handles what comes over a link until it ends, and with it the job unless its ranks only serve.
func (h *hub) read(l *link) {
	defer close(l.ended)
	r := &reader{hub: h, link: l}
	err := r.loop()
	_, cut := errors.AsType[*net.OpError](err) // else it broke the protocol
	reason := "its link broke: " + err.Error()
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
		reason, cut = "it ended, or its link was cut", true
	}
	if why := l.reason(); why != "" {
		reason, cut = why, true
	}
	r.lock()
	ran := h.ranOn(l)
	goesOn := h.cut(l, reason)
	r.unlock()
	r.flush()
	for _, ran := range ran {
		h.report(ran)
	}
	if !goesOn {
		return
	}
	if cut {
		l.conn.Close()
	} else {
		h.dismiss(l, reason)
	}
	l.close()
}

// dismiss tells the ranks behind a link why they are lost, if they listen still: they broke the protocol.
func (h *hub) dismiss(l *link, reason string) {
	for _, m := range l.members {
		lost := must(cborEnc.Marshal(h.lostError(m, reason)))
		l.send(frame.Header{Kind: kindLost, Dst: uint32(m.rank)}, lost)
	}
	time.AfterFunc(time.Second, func() { l.conn.Close() })
}

func (r *reader) loop() error {
	for {
		more := r.link.reader.Buffered()
		if !more || r.handled >= maxHandled {
			r.unlock()
		}
		if !more {
			r.flush()
		}
		f, payload, err := r.link.reader.Next()
		if err != nil {
			return err
		}
		if !more {
			r.link.heard.Store(int64(uptime()))
		}
		if len(payload) > lentLen {
			payload = append([]byte(nil), payload...)
		}
		if err := r.handle(f, payload); err != nil {
			return err
		}
	}
}

func (r *reader) handle(f frame.Header, payload []byte) error {
	if f.Kind == kindBeat {
		return nil
	}
	m := r.link.member(f.Src)
	if m == nil {
		return fmt.Errorf("it sends a frame of rank %d", f.Src)
	}
	if relayed(f.Kind) {
		r.unlock()
		to, err := r.hub.relay(f, payload)
		if to != nil {
			r.touched = append(r.touched, to)
		}
		return err
	}
	r.lock()
	return r.hub.receive(m, f, payload)
}

func (r *reader) lock() {
	if r.handled == 0 {
		r.hub.mu.Lock()
		r.hub.clock = 0
	}
	r.handled++
}

func (r *reader) unlock() {
	if r.handled > 0 {
		r.touched = append(r.touched, r.hub.untouch()...)
		r.hub.mu.Unlock()
		r.handled = 0
	}
}

func (r *reader) flush() {
	for _, p := range r.touched {
		p.flush()
	}
	r.touched = r.touched[:0]
}

// member returns the sender of a frame, nil if it is not behind this link.
func (l *link) member(src uint32) *member {
	for _, m := range l.members {
		if uint32(m.rank) == src {
			return m
		}
	}
	return nil
}
