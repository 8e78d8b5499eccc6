package comm

import (
	"bytes"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pprun/pprun/comm/frame"
)

// A link carries frames between the hub and a process with one rank or several. Many goroutines append to one buffer;
// whoever flushes writes what is there if the connection takes it at once, and leaves the rest to the writer goroutine.
// Large payloads are not copied: they queue apart, and one part is written at a time, after all the small frames.
type link struct {
	conn    io.ReadWriteCloser
	reader  *frame.Reader
	try     func([]byte) (int, error) // writes what the connection takes without blocking; nil if it cannot tell
	ranks   []int                     // behind it
	members []*member                 // the same, at the hub
	touched bool                      // the hub's mu guards it
	hearing hearing                   // of its other end; the heart's own
	heard   atomic.Int64              // uptime when something came that was waited for

	mu      sync.Mutex // guards the fields below
	out     []byte     // frames to be written
	spare   []byte     // an empty buffer
	bulk    []part     // large payloads to be written after out, and what must not overtake them
	rest    []byte     // what a try left over, before all others
	writing bool       // somebody writes
	handed  bool       // that is the writer goroutine's job now
	spoke   bool       // something else than beats was sent since the last one
	closing bool
	err     error  // of writing
	gaveUp  string // why it was given up; empty: it was not

	wake   chan struct{} // has room for one
	writer sync.WaitGroup
	ended  chan struct{} // closed when the hub's reader of it has ended
}

// A part is a frame with a payload that is not copied.
type part struct {
	head    frame.Header
	payload []byte
}

// newLink makes a link whose frames are read under limits.
func newLink(conn io.ReadWriteCloser, limits *frame.Limits) *link {
	l := &link{conn: conn, reader: frame.NewReader(conn, limits), wake: make(chan struct{}, 1), ended: make(chan struct{})}
	l.try = tryWriter(conn)
	return l
}

// start starts the writer goroutine; close ends it.
func (l *link) start() { l.writer.Go(l.write) }

// greet queues a whole frame before all others.
func (l *link) greet(b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out = append(l.out, b...)
}

func (l *link) send(h frame.Header, payload []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spoke = l.spoke || h.Kind != kindBeat
	switch {
	case l.err != nil:
	case len(payload) > lentLen:
		l.sendParts(h, payload)
	case len(l.bulk) > 0 && l.behind(h):
		l.bulk = append(l.bulk, part{h, bytes.Clone(payload)})
	default:
		l.out = frame.Append(l.out, h, payload)
	}
}

// sendParts queues a large payload.
func (l *link) sendParts(h frame.Header, payload []byte) {
	last := h.Flags
	for len(payload) > partLen {
		h.Flags = last | frame.More
		l.bulk = append(l.bulk, part{h, payload[:partLen:partLen]})
		payload = payload[partLen:]
	}
	h.Flags = last
	l.bulk = append(l.bulk, part{h, payload})
}

// behind says whether a small frame must not overtake the queued parts: messages of one rank to another keep their
// order, a task its cancel, what came of a rank the word that it is lost, and the word of a rank what comes of it.
func (l *link) behind(h frame.Header) bool {
	if h.Kind == kindCancel || h.Kind == kindMembers {
		return true
	}
	for i := range l.bulk {
		b := &l.bulk[i].head
		if b.Kind == kindMembers || b.Kind == h.Kind && b.Src == h.Src && b.Dst == h.Dst && (b.ID == h.ID || h.Kind != kindMessage) {
			return true
		}
	}
	return false
}

// nudge has the writer goroutine flush, if nobody writes.
func (l *link) nudge() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.writing && len(l.out)+len(l.bulk) > 0 {
		l.ring()
	}
}

func (l *link) ring() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// flush writes what is there, without blocking.
func (l *link) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.writing || len(l.out)+len(l.bulk) == 0 {
		return
	}
	if l.try == nil {
		l.ring()
		return
	}
	l.writing = true
	for len(l.out) > 0 {
		b := l.swap()
		l.mu.Unlock()
		n, err := l.try(b)
		l.mu.Lock()
		if err != nil {
			l.fail(err)
		} else if n < len(b) {
			l.rest, l.handed = b[n:], true
			l.ring()
			return
		}
		l.keep(b)
	}
	l.writing = false
	if len(l.bulk) > 0 || l.closing { // close may have rung while this goroutine was writing
		l.ring()
	}
}

// swap takes the buffer to be written and puts an empty one in its place. l.mu is held.
func (l *link) swap() []byte {
	b := l.out
	l.out, l.spare = l.spare[:0], nil
	return b
}

// keepLen is the largest buffer that is kept for the next frames.
const keepLen = 256 << 10

// keep keeps a buffer that was written. l.mu is held.
func (l *link) keep(b []byte) {
	if cap(b) <= keepLen {
		l.spare = b
	}
}

// fail ends the link: its reader finds the connection closed. l.mu is held.
func (l *link) fail(err error) {
	if l.err == nil {
		l.err = err
		l.conn.Close()
	}
	l.out, l.bulk, l.rest = nil, nil, nil
}

// write is the writer goroutine: it writes what flush could not, blocking.
func (l *link) write() {
	for range l.wake {
		l.mu.Lock()
		if !l.writing || l.handed {
			l.writing, l.handed = true, false
			l.drain()
			l.writing = false
		}
		done := l.closing && !l.writing
		l.mu.Unlock()
		if done {
			return
		}
	}
}

// drain writes until nothing is left. l.mu is held but while it writes.
func (l *link) drain() {
	for len(l.rest)+len(l.out)+len(l.bulk) > 0 {
		var err error
		switch {
		case len(l.rest) > 0:
			b := l.rest
			l.rest = nil
			l.mu.Unlock()
			_, err = l.conn.Write(b)
			l.mu.Lock()
		case len(l.out) > 0:
			b := l.swap()
			l.mu.Unlock()
			_, err = l.conn.Write(b)
			l.mu.Lock()
			l.keep(b)
		default:
			c := l.bulk[0]
			l.bulk[0] = part{}
			l.bulk = l.bulk[1:]
			l.mu.Unlock()
			err = frame.Write(l.conn, c.head, c.payload)
			l.mu.Lock()
		}
		if err != nil {
			l.fail(err)
		}
	}
}

// lingerTime is how long a link that closes waits for its last frames to be written.
const lingerTime = 5 * time.Second

// close writes what is left, ends the writer goroutine and closes the connection; the reader finds it closed.
func (l *link) close() {
	hurry := time.AfterFunc(lingerTime, func() { l.conn.Close() })
	l.mu.Lock()
	l.closing = true
	l.ring()
	l.mu.Unlock()
	l.writer.Wait()
	hurry.Stop()
	l.conn.Close()
}
