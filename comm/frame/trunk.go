package frame

import (
	"cmp"
	"context"
	"io"
	"net"
	"sync"
	"time"
)

// A Trunk is a connection that carries nothing but streams: one end opens them, the other takes them.
type Trunk struct {
	conn io.ReadWriteCloser
	r    *Reader
	mux  *Mux

	mu      sync.Mutex // guards the fields below
	change  *sync.Cond
	out     []byte // frames to be written
	closing bool   // when they are
	err     error  // of the connection
}

const (
	trunkBase = 1       // first kind of its Mux
	maxOut    = 1 << 20 // bytes of out above which senders wait
)

var trunkLimits = StreamLimits(Limits{}, trunkBase)

// NewTrunk makes one end of a trunk for about n streams over conn, which Run closes.
func NewTrunk(conn io.ReadWriteCloser, n int) *Trunk {
	t := &Trunk{conn: conn, r: NewReader(conn, &trunkLimits)}
	t.change = sync.NewCond(&t.mu)
	t.mux = NewMux(trunkBase, t.send)
	t.mux.Begin(0, n)
	return t
}

// Open opens a stream. It returns once the other end has taken it, or ctx has ended. The error is that of the connection
// if it has ended.
func (t *Trunk) Open(ctx context.Context) (*Stream, error) {
	s, err := t.mux.Open(ctx, 0)
	if err != nil {
		return nil, cmp.Or(t.Err(), err)
	}
	return s, nil
}

// Silence is how long nothing has come from the other end.
func (t *Trunk) Silence() *Silence { return t.r.Silence() }

// Streams is how many there are.
func (t *Trunk) Streams() int { return t.mux.Len() }

// Err is why the connection has ended; nil if it has not.
func (t *Trunk) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// Run works until the connection ends; then all streams have ended. taken, which must not block, is called with each
// stream that the other end opens.
func (t *Trunk) Run(taken func(*Stream)) error {
	var writer sync.WaitGroup
	writer.Go(t.write)
	err := t.read(taken)
	t.fail(err)
	t.mux.End()
	writer.Wait()
	return err
}

func (t *Trunk) read(taken func(*Stream)) error {
	for {
		h, payload, err := t.r.Next()
		if err != nil {
			return err
		}
		if s := t.mux.Take(h, payload); s != nil {
			s.Accept()
			taken(s)
		}
	}
}

// send queues a frame. What several streams send meanwhile is written at once.
func (t *Trunk) send(h Header, b []byte) error {
	h.Len = uint32(len(b) - HeaderLen)
	Put(b, h)
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.out) > maxOut && t.err == nil {
		t.change.Wait()
	}
	if t.err == nil {
		t.out = append(t.out, b...)
		t.change.Broadcast()
	}
	return t.err
}

// write writes what is queued.
func (t *Trunk) write() {
	var b []byte
	for {
		t.mu.Lock()
		for len(t.out) == 0 && t.err == nil && !t.closing {
			t.change.Wait()
		}
		if len(t.out) == 0 || t.err != nil {
			t.mu.Unlock()
			t.fail(net.ErrClosed)
			return
		}
		b, t.out = t.out, b[:0]
		t.change.Broadcast()
		t.mu.Unlock()
		if _, err := t.conn.Write(b); err != nil {
			t.fail(err)
			return
		}
	}
}

// fail ends the connection.
func (t *Trunk) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.err = err
		t.change.Broadcast()
		t.conn.Close()
	}
}

// Close ends the connection, and with it all streams, once what they have sent is written or linger is over. It does not
// wait for that.
func (t *Trunk) Close(linger time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closing = true
	t.change.Broadcast()
	time.AfterFunc(linger, func() { t.fail(net.ErrClosed) })
}
