package agent

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/pprun/pprun/comm/frame"
	"golang.org/x/sys/unix"
)

// feedPiece is written, and its credit returned, at a time: the launcher refills the window while the rank reads.
const feedPiece = StdinWindow / 4

// feed carries the launcher's input to one rank. What a rank does not want to read is dropped, so that it holds up
// nobody; one that has closed its input is sent no more.
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
	written int64         // bytes put into the pipe; owned by run
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
	for {
		f.mu.Lock()
		for len(f.queue) == 0 && !f.eof && !f.gone {
			f.more.Wait()
		}
		b, f.queue = f.queue, b[:0]
		gone := f.gone
		f.mu.Unlock()
		if gone {
			return
		}
		if len(b) == 0 {
			f.finish(file)
			return
		}
		for rest := b; len(rest) > 0; {
			n := min(len(rest), feedPiece)
			wrote, err := file.Write(rest[:n])
			f.written += int64(wrote)
			if err != nil {
				f.stop(err)
				return
			}
			rest = rest[n:]
			f.grant(n)
		}
	}
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

func (f *feed) grant(n int) {
	f.mu.Lock()
	f.credit += n
	f.mu.Unlock()
	f.conn.Send(frame.Header{Kind: KindStdinCredit, Src: uint32(f.rank), ID: uint64(n)}, nil)
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

// read returns how many bytes the rank took, which has ended. Where the pipe cannot tell what is in it, all counts as
// taken.
func (f *feed) read() int64 {
	<-f.idle
	if f.file == nil {
		return f.written
	}
	defer f.file.Close()
	left, err := unix.IoctlGetInt(int(f.file.Fd()), fionread)
	if err != nil {
		left = 0
	}
	return f.written - int64(left)
}
