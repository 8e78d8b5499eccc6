package agent

import (
	"bytes"
	"cmp"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pprun/pprun/comm/frame"
)

const (
	idleFlush   = 100 * time.Millisecond // a begun line waits so long for its end
	drainLimit  = 2 * time.Second        // after a rank's exit its background children may keep a pipe open
	failedLimit = drainLimit / 4         // the same after one that failed: whoever waits for it is to know within a second
	drainBytes  = 1 << 20                // no pipe holds more at that moment
	gatherBelow = 16 << 10               // a stream that brings less in gather is read so seldom
	gather      = time.Millisecond
	pipeLen     = 256 << 10 // of a stream that has brought so much
	tailLen     = StderrLen
)

// outputBuffers have room for a frame with its header.
var outputBuffers = sync.Pool{New: func() any { b := make([]byte, frame.HeaderLen+ChunkLen); return &b }}

// stream carries one standard stream of one rank to the launcher: whole lines, many to a frame.
type stream struct {
	head   frame.Header
	file   *os.File // the agent's end of the pipe
	conn   *Conn
	credit *window
	outlet *outlet      // where the bytes go instead of into frames; nil: frames
	until  atomic.Int64 // when background children of a rank that has ended are heard no more, in nanoseconds since the epoch; 0: it runs

	buf  *[]byte // nil while nothing is held; owned by relay, as all below
	held int     // bytes in buf behind the header's room: a line begun and not yet sent
	tail []byte  // last bytes, if keep
	keep bool
}

// relay copies until the end of the stream, or until the rank has ended and what it left behind is read.
func (s *stream) relay() {
	defer s.file.Close()
	raw, err := s.file.SyscallConn()
	if err != nil {
		return
	}
	var late int // bytes read after the time that is left to background children
	var pace pace
	for {
		over := s.setDeadline()
		n, err := s.read(raw)
		if n > 0 {
			s.emit(n)
			if over {
				late += n
			}
			if pace.total += n; pace.total >= pipeLen && pace.total-n < pipeLen {
				enlarge(raw)
			}
			if s.until.Load() == 0 {
				pace.wait(n)
			}
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			s.flush()
			if over {
				return
			}
		case err != nil || late > drainBytes:
			s.flush()
			return
		}
	}
}

// pace makes few frames of many short writes without holding up a fast writer.
type pace struct {
	total int       // bytes of the stream
	since time.Time // when the last span began
	bytes int       // in the span
}

// wait is called after each read. Where at least two reads within a span brought little, it waits for more to come.
func (p *pace) wait(n int) {
	now := time.Now()
	p.bytes += n
	span := now.Sub(p.since)
	switch {
	case span > 2*gather: // it spoke after a silence
		p.since, p.bytes = now, n
	case p.bytes < gatherBelow:
		time.Sleep(gather)
		p.since, p.bytes = time.Now(), 0
	case span > gather:
		p.since, p.bytes = now, 0
	}
}

// finish tells relay that the rank has ended, and how.
func (s *stream) finish(e ending) {
	limit := drainLimit
	if e.status != 0 {
		limit = failedLimit
	}
	s.until.Store(time.Now().Add(limit).UnixNano())
	s.file.SetReadDeadline(time.Unix(1, 0))
}

// setDeadline bounds the next read. over: the time for background children is up.
func (s *stream) setDeadline() (over bool) {
	for {
		until := s.until.Load()
		var d time.Time
		if until != 0 {
			d = time.Unix(0, until)
			over = !time.Now().Before(d)
		}
		if s.held > 0 {
			if idle := time.Now().Add(idleFlush); d.IsZero() || idle.Before(d) {
				d = idle
			}
		}
		s.file.SetReadDeadline(d)
		if s.until.Load() == until {
			return over
		}
	}
}

// read waits for n further bytes, all that are there, which it puts into s.buf behind what is held there. A stream that
// says nothing holds no buffer.
func (s *stream) read(raw syscall.RawConn) (n int, err error) {
	var end error // of the stream
	err = raw.Read(func(fd uintptr) bool {
		if s.buf == nil {
			s.buf = outputBuffers.Get().(*[]byte)
		}
		for b := (*s.buf)[frame.HeaderLen+s.held:]; n < len(b); {
			got, err := syscall.Read(int(fd), b[n:])
			switch {
			case err == syscall.EINTR:
			case err == syscall.EAGAIN && n > 0:
				return true
			case err == syscall.EAGAIN:
				s.release()
				return false
			case err != nil:
				end = err
				return true
			case got == 0:
				end = errEnd
				return true
			default:
				n += got
			}
		}
		return true
	})
	if n > 0 {
		return n, nil // what ends the stream is met again
	}
	return 0, cmp.Or(err, end)
}

var errEnd = errors.New("end of stream")

// release gives an empty buffer back.
func (s *stream) release() {
	if s.buf != nil && s.held == 0 {
		outputBuffers.Put(s.buf)
		s.buf = nil
	}
}

// emit sends the whole lines of the buffer, to which n bytes have come, and holds the rest.
func (s *stream) emit(n int) {
	const begin = frame.HeaderLen
	old, b := begin+s.held, (*s.buf)[:begin+s.held+n]
	end := old + lastLine(b[old:])
	if end > old {
		s.send(b[:end], 0)
	} else if end = begin; len(b) == len(*s.buf) {
		end = len(b)
		s.send(b, frame.More)
	}
	s.held = copy((*s.buf)[begin:], b[end:])
	s.release()
}

// lastLine is the length of the whole lines of b. bytes.LastIndexByte looks at a byte at a time, IndexByte at many: what
// is no text at all is found out by the latter.
func lastLine(b []byte) int {
	const near = 4 << 10
	far := max(0, len(b)-near)
	if i := bytes.LastIndexByte(b[far:], '\n'); i >= 0 {
		return far + i + 1
	}
	if bytes.IndexByte(b[:far], '\n') < 0 {
		return 0
	}
	return bytes.LastIndexByte(b[:far], '\n') + 1
}

// flush sends a begun line.
func (s *stream) flush() {
	if s.held > 0 {
		s.send((*s.buf)[:frame.HeaderLen+s.held], frame.More)
		s.held = 0
	}
	s.release()
}

// send waits for credit for what b holds behind the room for a header. When the launcher is lost the bytes are dropped,
// and the rank does not block.
func (s *stream) send(b []byte, flags uint8) {
	payload := b[frame.HeaderLen:]
	if s.keep {
		s.tail = append(s.tail, payload[max(0, len(payload)-tailLen):]...)
		s.tail = append(s.tail[:0], s.tail[max(0, len(s.tail)-tailLen):]...)
	}
	if s.outlet != nil {
		s.outlet.write(payload)
	} else if s.credit.take(int64(len(payload))) {
		h := s.head
		h.Flags = flags
		s.conn.SendHeaded(h, b)
	}
}
