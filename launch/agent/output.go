package agent

import (
	"bytes"
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
	drainBytes  = 1 << 20                // no pipe holds more at that moment
	gatherBelow = 16 << 10               // after a shorter read the next one lets more come together
	gather      = time.Millisecond
	tailLen     = 4 << 10
)

// outputBuffers have room for a frame with its header.
var outputBuffers = sync.Pool{New: func() any { b := make([]byte, frame.HeaderLen+ChunkLen); return &b }}

// stream carries one standard stream of one rank to the launcher: whole lines, many to a frame.
type stream struct {
	head   frame.Header
	file   *os.File // the agent's end of the pipe
	conn   *Conn
	credit *window
	exited atomic.Int64 // when the rank ended, in nanoseconds since the epoch; 0: it runs

	rest []byte // a line begun and not yet sent; owned by relay, as all below
	tail []byte // last bytes, if keep
	keep bool
}

// relay copies until the end of the stream, or until the rank has ended and what it left behind is read.
func (s *stream) relay() {
	defer s.file.Close()
	raw, err := s.file.SyscallConn()
	if err != nil {
		return
	}
	var late int       // bytes read after the time that is left to background children
	var last time.Time // of a read of few bytes
	for {
		over := s.setDeadline()
		buf, n, err := s.read(raw)
		if n > 0 {
			s.emit((*buf)[:frame.HeaderLen+len(s.rest)+n])
			if over {
				late += n
			}
			if n < gatherBelow && s.exited.Load() == 0 {
				if now := time.Now(); now.Sub(last) > 2*gather {
					last = now
				} else {
					time.Sleep(gather)
					last = time.Now()
				}
			}
		}
		if buf != nil {
			outputBuffers.Put(buf)
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

// finish tells relay that the rank has ended.
func (s *stream) finish() {
	s.exited.Store(time.Now().UnixNano())
	s.file.SetReadDeadline(time.Unix(1, 0))
}

// setDeadline bounds the next read. over: the time for background children is up.
func (s *stream) setDeadline() (over bool) {
	for {
		exited := s.exited.Load()
		var d time.Time
		if exited != 0 {
			d = time.Unix(0, exited).Add(drainLimit)
			over = !time.Now().Before(d)
		}
		if len(s.rest) > 0 {
			if idle := time.Now().Add(idleFlush); d.IsZero() || idle.Before(d) {
				d = idle
			}
		}
		s.file.SetReadDeadline(d)
		if s.exited.Load() == exited {
			return over
		}
	}
}

// read waits for n further bytes and returns them in a buffer, behind room for a header and a copy of s.rest. A stream
// that says nothing holds no buffer.
func (s *stream) read(raw syscall.RawConn) (buf *[]byte, n int, err error) {
	var readErr error
	err = raw.Read(func(fd uintptr) bool {
		buf = outputBuffers.Get().(*[]byte)
		b := (*buf)[frame.HeaderLen:]
		b = b[copy(b, s.rest):]
		for {
			n, readErr = syscall.Read(int(fd), b)
			if readErr != syscall.EINTR {
				break
			}
		}
		if readErr == syscall.EAGAIN {
			outputBuffers.Put(buf)
			buf, n, readErr = nil, 0, nil
			return false
		}
		return true
	})
	switch {
	case err != nil:
		return buf, 0, err
	case readErr != nil:
		return buf, 0, readErr
	case n <= 0:
		return buf, 0, errEnd
	}
	return buf, n, nil
}

var errEnd = errors.New("end of stream")

// emit sends the whole lines of b and keeps the rest. b begins with room for a header and s.rest.
func (s *stream) emit(b []byte) {
	old := frame.HeaderLen + len(s.rest)
	end := old + bytes.LastIndexByte(b[old:], '\n') + 1
	switch {
	case end > old:
		s.send(b[:end], 0)
	case len(b) == frame.HeaderLen+ChunkLen:
		end = len(b)
		s.send(b, frame.More)
	default:
		end = frame.HeaderLen
	}
	s.rest = append(s.rest[:0], b[end:]...)
}

// flush sends a begun line.
func (s *stream) flush() {
	if len(s.rest) > 0 {
		s.send(append(make([]byte, frame.HeaderLen, frame.HeaderLen+len(s.rest)), s.rest...), frame.More)
		s.rest = s.rest[:0]
	}
}

// send waits for credit for what b holds behind the room for a header. When the launcher is lost the bytes are dropped,
// and the rank does not block.
func (s *stream) send(b []byte, flags uint8) {
	payload := b[frame.HeaderLen:]
	if s.keep {
		s.tail = append(s.tail, payload[max(0, len(payload)-tailLen):]...)
		s.tail = append(s.tail[:0], s.tail[max(0, len(s.tail)-tailLen):]...)
	}
	if s.credit.take(int64(len(payload))) {
		h := s.head
		h.Flags = flags
		s.conn.SendHeaded(h, b)
	}
}
