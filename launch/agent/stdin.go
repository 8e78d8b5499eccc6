package agent

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/pprun/pprun/comm/frame"
	"golang.org/x/sys/unix"
)

// feedPiece is written at a time, and then looked how much of it the rank has read.
const feedPiece = 64 << 10

// A pipe with room in it does not tell when it is read; that is looked for now and then.
const (
	firstLook = time.Millisecond
	lastLook  = 100 * time.Millisecond
)

// feed carries the launcher's input to one rank, and tells what the rank has read of it. What a rank does not want to
// read holds up nobody; one that has closed its input is sent no more.
type feed struct {
	rank int
	conn *Conn

	mu     sync.Mutex
	more   *sync.Cond
	queue  []byte   // what run has not taken yet
	credit int      // bytes the launcher may still send
	file   *os.File // the agent's end of the pipe, in the end one that tells what is in it; nil before run
	eof    bool     // the launcher has sent the end
	gone   bool     // the rank has ended, or closed its input

	idle    chan struct{} // closed when run has returned
	written int64         // bytes put into the pipe; owned by run, as is the next
	granted int64         // bytes that the rank is known to have read
}

func newFeed(rank int, conn *Conn) *feed {
	f := &feed{rank: rank, conn: conn, credit: StdinWindow, idle: make(chan struct{})}
	f.more = sync.NewCond(&f.mu)
	return f
}

// input takes a frame of standard input.
func (a *agent) input(rank int, b []byte) error {
	r := a.rank(rank)
	if r != nil && r.incarnation > 0 { // it was meant for the one before
		return nil
	}
	if r == nil || r.feed == nil {
		return fmt.Errorf("input for rank %d, which takes none", rank)
	}
	return r.feed.put(b)
}

func (f *feed) put(b []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.gone:
		return nil
	case f.eof:
		return fmt.Errorf("input for rank %d after its end", f.rank)
	case len(b) > f.credit:
		return fmt.Errorf("input for rank %d: %d bytes, credit for %d", f.rank, len(b), f.credit)
	}
	f.credit -= len(b)
	f.queue = append(f.queue, b...)
	f.eof = len(b) == 0
	f.more.Signal()
	return nil
}

// run writes what comes, until its end or that of the rank. The pipe outlives it: the rank reads on.
func (f *feed) run(file *os.File) {
	defer close(f.idle)
	f.mu.Lock()
	f.file = file
	f.mu.Unlock()
	var b []byte
	var over error
	for look := firstLook; over == nil; look = max(firstLook, min(2*look, lastLook)) {
		b, over = f.take(b[:0], look)
		for rest := b; len(rest) > 0; {
			n, err := file.Write(rest[:min(len(rest), feedPiece)])
			f.written += int64(n)
			if err != nil {
				f.stop(err)
				return
			}
			f.grant()
			rest, look = rest[n:], 0
		}
		if f.grant() {
			look = 0
		}
	}
	if over == io.EOF {
		f.finish(file)
	}
}

// take waits for something to write or, where the rank has not read all yet, until it is time to look again. The error is
// io.EOF behind the last bytes, os.ErrClosed when the rank takes no more.
func (f *feed) take(spare []byte, look time.Duration) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue) == 0 && !f.eof && !f.gone {
		if f.granted < f.written {
			defer time.AfterFunc(look, f.nudge).Stop()
		}
		f.more.Wait()
	}
	if f.gone {
		return nil, os.ErrClosed
	}
	b := f.queue
	f.queue = spare
	if f.eof {
		return b, io.EOF
	}
	return b, nil
}

func (f *feed) nudge() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.more.Signal()
}

// finish lets the rank read the end, for which all who could write must be gone.
func (f *feed) finish(file *os.File) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.file = reopenPipe(file, os.O_RDONLY)
	file.Close()
}

// stop is for a write that failed. A rank that has closed its input and runs on holds up nobody: the launcher stops
// sending to it, and may leave something for who comes next.
func (f *feed) stop(err error) {
	f.mu.Lock()
	f.gone = true
	f.mu.Unlock()
	if errors.Is(err, syscall.EPIPE) {
		f.conn.Send(frame.Header{Kind: KindStdinCredit, Src: uint32(f.rank)}, nil)
	}
}

// grant tells the launcher what the rank has read since it was told last.
func (f *feed) grant() bool {
	n := f.written - unread(f.file) - f.granted
	if n == 0 {
		return false
	}
	f.granted += n
	f.mu.Lock()
	f.credit += int(n)
	f.mu.Unlock()
	f.conn.Send(frame.Header{Kind: KindStdinCredit, Src: uint32(f.rank), ID: uint64(n)}, nil)
	return true
}

// end makes run return: the rank is gone, though others may hold the pipe.
func (f *feed) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone = true
	if f.file != nil {
		f.file.SetWriteDeadline(time.Unix(1, 0))
	}
	f.more.Signal()
}

// read returns how many bytes the rank took, which has ended.
func (f *feed) read() int64 {
	<-f.idle
	if f.file == nil {
		return f.written
	}
	defer f.file.Close()
	return f.written - unread(f.file)
}

// unread returns how many bytes a pipe holds, 0 where it cannot tell: then all counts as read.
func unread(pipe *os.File) int64 {
	raw, err := pipe.SyscallConn()
	if err != nil {
		return 0
	}
	n := 0
	raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), fionread) })
	if err != nil {
		return 0
	}
	return int64(n)
}
