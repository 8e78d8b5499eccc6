package frame

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// A Stream is one stream of a Mux. It is a net.Conn: whoever closes it ends it for both directions, and the other end
// reads what has been written before.
type Stream struct {
	mux    *Mux
	key    streamKey
	self   uint32 // of this end
	window int

	writing sync.Mutex // held by Write

	mu     sync.Mutex // guards the fields below
	more   *sync.Cond
	credit int      // bytes that the other end takes
	room   int      // bytes that the other end may still send
	in     []byte   // bytes that have come
	next   int      // in[:next] has been read
	spent  int      // bytes that were read, for which the other end gets new credit
	joined net.Conn // by Join
	ended  bool     // by either end: nothing more comes
	told   bool     // the other end knows
	closed bool     // nothing more is read
	why    string
	read   deadline
	write  deadline
}

// deadline is when waiting ends.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) over() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

// newStream makes a stream. m.mu is held, unless it is only to be refused.
func (m *Mux) newStream(key streamKey) *Stream {
	s := &Stream{mux: m, key: key, self: m.self, window: m.window}
	s.more = sync.NewCond(&s.mu)
	return s
}

func (s *Stream) header(kind Kind) Header {
	return Header{Kind: s.mux.base + kind, Src: s.self, Dst: s.key.peer, ID: s.key.id}
}

func (s *Stream) tell(kind Kind, payload []byte) error {
	return s.mux.send(s.header(kind), append(make([]byte, HeaderLen, HeaderLen+len(payload)), payload...))
}

// Accept lets the other end, which has opened the stream, send.
func (s *Stream) Accept() { s.grant(s.window) }

// Refuse closes a stream that the other end has opened, and says why.
func (s *Stream) Refuse(why string) {
	s.end(why, false)
	s.Close()
}

// answered waits until the other end has answered.
func (s *Stream) answered() (why string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.credit == 0 && !s.ended {
		s.more.Wait()
	}
	return s.why, s.credit > 0
}

// Read returns what has come; io.EOF when that was all and the other end has closed the stream.
func (s *Stream) Read(b []byte) (n int, err error) {
	s.mu.Lock()
	for s.next == len(s.in) && !s.ended && !s.closed && !s.read.over() {
		s.more.Wait()
	}
	switch {
	case s.closed:
		err = net.ErrClosed
	case s.next < len(s.in):
		n = copy(b, s.in[s.next:])
		if s.next += n; s.next == len(s.in) {
			s.in, s.next = s.in[:0], 0
		}
	case s.ended:
		err = io.EOF
	default:
		err = os.ErrDeadlineExceeded
	}
	s.mu.Unlock()
	s.spend(n)
	return n, err
}

// WriteTo writes to w what comes, without a buffer between, until the other end has closed the stream or w takes no more.
func (s *Stream) WriteTo(w io.Writer) (total int64, err error) {
	var b []byte
	for {
		s.mu.Lock()
		for s.next == len(s.in) && !s.ended && !s.closed {
			s.more.Wait()
		}
		b, s.in = s.in[s.next:], b[:0]
		s.next = 0
		closed := s.closed
		s.mu.Unlock()
		if closed {
			return total, net.ErrClosed
		}
		if len(b) == 0 {
			return total, nil
		}
		n, err := w.Write(b)
		total += int64(n)
		if err != nil {
			return total, err
		}
		s.spend(n)
	}
}

// buffers are for one frame of bytes each.
var buffers = sync.Pool{New: func() any { return new([HeaderLen + StreamLen]byte) }}

// Write sends b as far as there is credit, and waits for more.
func (s *Stream) Write(b []byte) (n int, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	buffer := buffers.Get().(*[HeaderLen + StreamLen]byte)
	defer buffers.Put(buffer)
	for n < len(b) {
		m, err := s.mayWrite()
		if err != nil {
			return n, err
		}
		m = copy(buffer[HeaderLen:HeaderLen+m], b[n:])
		if err := s.bytes(buffer[:HeaderLen+m]); err != nil {
			return n, err
		}
		n += m
	}
	return n, nil
}

// bytes sends bytes, for which there is credit, after room for the header.
func (s *Stream) bytes(b []byte) error {
	s.mu.Lock()
	s.credit -= len(b) - HeaderLen
	s.mu.Unlock()
	return s.mux.send(s.header(streamBytes), b)
}

// mayWrite waits for credit, and says how much may be written at once.
func (s *Stream) mayWrite() (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.credit == 0 && !s.ended && !s.write.over() {
		s.more.Wait()
	}
	switch {
	case s.closed:
		return 0, net.ErrClosed
	case s.ended:
		return 0, io.ErrClosedPipe
	case s.credit == 0:
		return 0, os.ErrDeadlineExceeded
	}
	return min(s.credit, StreamLen), nil
}

// spend gives the other end new credit for bytes that have been read, not for every few.
func (s *Stream) spend(n int) {
	s.mu.Lock()
	s.spent += n
	n = 0
	if s.spent >= s.window/4 && !s.ended {
		n, s.spent = s.spent, 0
	}
	s.mu.Unlock()
	if n > 0 {
		s.grant(n)
	}
}

func (s *Stream) grant(n int) {
	s.mu.Lock()
	s.room += n
	s.mu.Unlock()
	s.tell(streamCredit, binary.BigEndian.AppendUint32(nil, uint32(n)))
}

// put takes bytes from the other end.
func (s *Stream) put(b []byte) {
	s.mu.Lock()
	over := len(b) > s.room
	if !over && !s.ended {
		s.room -= len(b)
		if s.next > len(s.in)/2 { // else a reader that is always a little behind would have it grow for ever
			s.in, s.next = append(s.in[:0], s.in[s.next:]...), 0
		}
		s.in = append(s.in, b...)
		s.more.Broadcast()
	}
	s.mu.Unlock()
	if over {
		s.end("more bytes than credit", false)
	}
}

// fill takes credit from the other end.
func (s *Stream) fill(n uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.credit = int(min(int64(s.credit)+int64(n), maxWindow))
	s.more.Broadcast()
}

// end has nothing more come than what is there. told: the other end knows.
func (s *Stream) end(why string, told bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = s.told || told
	if !s.ended {
		s.ended, s.why = true, why
		s.more.Broadcast()
	}
}

// Close ends the stream. Reading and writing, also those under way, return an error.
func (s *Stream) Close() error {
	s.end("", false)
	s.mu.Lock()
	told, why := s.told, s.why
	s.told, s.closed = true, true
	for _, d := range []*deadline{&s.read, &s.write} {
		if d.timer != nil {
			d.timer.Stop()
		}
	}
	s.more.Broadcast()
	s.mu.Unlock()
	if !told {
		s.tell(streamClose, []byte(why[:min(len(why), maxCloseReason)]))
	}
	s.mux.remove(s)
	return nil
}

// abandon ends the stream at once, whatever is under way.
func (s *Stream) abandon() {
	s.end("the job ends there", false)
	s.mu.Lock()
	joined := s.joined
	s.closed = true
	s.more.Broadcast()
	s.mu.Unlock()
	if joined != nil {
		joined.Close()
	}
}

// Join carries bytes between the stream and conn until one of them ends, and closes both.
func (s *Stream) Join(conn net.Conn) {
	defer s.Close()
	defer conn.Close()
	s.mu.Lock()
	s.joined = conn
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return
	}
	var out sync.WaitGroup
	out.Go(func() { s.pump(conn) })
	s.WriteTo(conn)
	s.end("", false)
	conn.Close()
	out.Wait()
}

// pump sends what conn brings, each piece with one copy less than Write needs. There may be thousands of streams that bring
// little, so the buffer grows with what comes.
func (s *Stream) pump(conn io.Reader) {
	b := make([]byte, HeaderLen+firstPump)
	for {
		n, err := s.mayWrite()
		if err == nil {
			n, err = conn.Read(b[HeaderLen:min(len(b), HeaderLen+n)])
			if n > 0 {
				err = errors.Join(err, s.bytes(b[:HeaderLen+n]))
			}
			if n == len(b)-HeaderLen && n < StreamLen {
				b = make([]byte, HeaderLen+min(2*n, StreamLen))
			}
		}
		if err != nil {
			s.end("", false)
			return
		}
	}
}

const firstPump = 4 << 10

// An Address is what net.Conn wants to know of the ends of a stream.
type streamAddr struct{}

func (streamAddr) Network() string { return "stream" }
func (streamAddr) String() string  { return "a stream" }

func (s *Stream) LocalAddr() net.Addr  { return streamAddr{} }
func (s *Stream) RemoteAddr() net.Addr { return streamAddr{} }

func (s *Stream) SetDeadline(t time.Time) error      { return s.limit(t, &s.read, &s.write) }
func (s *Stream) SetReadDeadline(t time.Time) error  { return s.limit(t, &s.read) }
func (s *Stream) SetWriteDeadline(t time.Time) error { return s.limit(t, &s.write) }

func (s *Stream) limit(t time.Time, ds ...*deadline) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range ds {
		if d.timer != nil {
			d.timer.Stop()
		}
		if d.at = t; !t.IsZero() {
			d.timer = time.AfterFunc(time.Until(t), func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.more.Broadcast()
			})
		}
	}
	s.more.Broadcast()
	return nil
}
