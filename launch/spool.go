package launch

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"github.com/klauspost/compress/zstd"
	"github.com/pprun/pprun/launch/agent"
)

// spoolWindow is how far, in chunks, the fastest reader of a spool may be ahead of the slowest: 64 MiB.
const spoolWindow = 256

// spool is a file that is compressed once while any number of readers take the stream, each at its own pace within the
// window. A reader that will not come must leave, or the others wait for it.
type spool struct {
	file   string
	digest string // sha256 of the file, hex
	size   int64
	mode   os.FileMode
	window int // spoolWindow

	once    sync.Once // starts the compressor
	mu      sync.Mutex
	cond    sync.Cond
	chunks  []chunk       // guarded by mu, as all below
	base    int           // index of chunks[0]
	readers map[int]int   // next chunk of each reader
	taken   int64         // bytes of the file that went into the encoder
	packed  int64         // bytes of all chunks so far
	ended   bool          // no further chunk comes
	err     error         // why it ended early
	idle    chan struct{} // closed when the compressor is gone; nil before it starts
}

// chunk is a piece of the compressed stream.
type chunk struct {
	data []byte
	upTo int64 // bytes of the file that are in the stream so far
}

// errLeft is returned to a reader that was taken off while it waited.
var errLeft = errors.New("left the spool")

// newSpool measures the file. The readers are known by number.
func newSpool(file string, readers []int) (*spool, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a named pipe would wait for a writer
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, errors.New("is not a regular file")
	}
	hash := sha256.New()
	n, err := io.Copy(hash, f)
	if err != nil {
		return nil, err
	}
	s := &spool{file: file, digest: hex.EncodeToString(hash.Sum(nil)), size: n, mode: st.Mode().Perm(), window: spoolWindow, readers: map[int]int{}}
	s.cond.L = &s.mu
	for _, r := range readers {
		s.readers[r] = 0
	}
	return s, nil
}

// next returns the following chunk for a reader, starting the compressor if need be. more is false with the last one.
func (s *spool) next(reader int) (c chunk, more bool, err error) {
	s.once.Do(func() {
		s.idle = make(chan struct{})
		go s.compress()
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		at, ok := s.readers[reader]
		switch {
		case s.err != nil:
			return chunk{}, false, s.err
		case !ok:
			return chunk{}, false, errLeft
		// The last chunk is told from others only once the one after it is known not to come.
		case at+1 < s.base+len(s.chunks), s.ended && at < s.base+len(s.chunks):
			c := s.chunks[at-s.base]
			s.readers[reader] = at + 1
			more := at+1 < s.base+len(s.chunks)
			s.trim()
			return c, more, nil
		case s.ended:
			return chunk{}, false, nil
		}
		s.cond.Wait()
	}
}

// leave takes a reader off: it needs no more, or is lost.
func (s *spool) leave(reader int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.readers, reader)
	s.trim()
	s.cond.Broadcast()
}

// trim drops the chunks that every reader has taken.
func (s *spool) trim() {
	low := s.base + len(s.chunks)
	for _, at := range s.readers {
		low = min(low, at)
	}
	if low > s.base {
		s.chunks = s.chunks[low-s.base:]
		s.base = low
		s.cond.Broadcast()
	}
}

// packedSize is how many bytes the file took compressed, so far.
func (s *spool) packedSize() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.packed
}

// close ends the compressor and every reader.
func (s *spool) close() {
	s.mu.Lock()
	clear(s.readers)
	s.cond.Broadcast()
	s.mu.Unlock()
	s.once.Do(func() {})
	if s.idle != nil {
		<-s.idle
	}
}

// compress runs in a goroutine of its own, which close waits for.
func (s *spool) compress() {
	defer close(s.idle)
	err := s.encode()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	if err != nil && err != errLeft {
		s.err = fmt.Errorf("%s: %w", s.file, err)
	}
	s.cond.Broadcast()
}

func (s *spool) encode() error {
	f, err := os.Open(s.file)
	if err != nil {
		return err
	}
	defer f.Close()
	w := &spoolWriter{spool: s}
	// The next level halves the speed for 4 % of a program's size: it would be what a fast network waits for.
	z, err := zstd.NewWriter(w, zstd.WithZeroFrames(true), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return err
	}
	if _, err := io.Copy(z, io.TeeReader(f, progress{s})); err != nil {
		z.Close()
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return w.flush()
}

// progress counts what has been read of the file.
type progress struct{ s *spool }

func (p progress) Write(b []byte) (int, error) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	p.s.taken += int64(len(b))
	return len(b), nil
}

// spoolWriter cuts the stream into chunks.
type spoolWriter struct {
	spool *spool
	buf   []byte
}

func (w *spoolWriter) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		if w.buf == nil {
			w.buf = make([]byte, 0, agent.ChunkLen)
		}
		k := min(len(b), cap(w.buf)-len(w.buf))
		w.buf = append(w.buf, b[:k]...)
		b = b[k:]
		if len(w.buf) == cap(w.buf) {
			if err := w.flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

// flush hands the buffered bytes to the readers, and waits while the slowest is too far behind.
func (w *spoolWriter) flush() error {
	s := w.spool
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.chunks) >= s.window && len(s.readers) > 0 {
		s.cond.Wait()
	}
	if len(s.readers) == 0 {
		return errLeft
	}
	if len(w.buf) > 0 {
		s.chunks = append(s.chunks, chunk{w.buf, s.taken})
		s.packed += int64(len(w.buf))
		w.buf = nil
	}
	s.cond.Broadcast()
	return nil
}
