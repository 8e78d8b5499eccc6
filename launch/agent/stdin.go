package agent

import (
	"fmt"
	"os"
	"sync"

	"github.com/pprun/pprun/comm/frame"
	"golang.org/x/sys/unix"
)

// feedPiece is written, and its credit returned, at a time: the launcher refills the window while the rank reads.
const feedPiece = StdinWindow / 4

// feed carries the launcher's input to one rank. What a rank does not want to read is dropped, so that it holds up
// nobody.
type feed struct {
	rank int
	conn *Conn

	mu     sync.Mutex
	more   *sync.Cond
	queue  []byte   // what run has not taken yet
	credit int      // bytes the launcher may still send
	file   *os.File // the agent's end of the pipe; nil before run
	eof    bool     // the launcher has sent the end
	gone   bool     // the rank has ended

	rankEnd int           // the rank's end of the pipe, which tells what it has not read
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
	r := a.ranks[rank]
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

// run writes what comes, until its end or that of the rank.
func (f *feed) run(file *os.File) {
	defer close(f.idle)
	defer file.Close()
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
		if gone || len(b) == 0 {
			return
		}
		for rest := b; len(rest) > 0; {
			n := min(len(rest), feedPiece)
			wrote, _ := file.Write(rest[:n]) // fails only once the rank has ended
			f.written += int64(wrote)
			rest = rest[n:]
			f.grant(n)
		}
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
		f.file.Close()
	}
	f.more.Signal()
}

// keep takes over the rank's end of the pipe. While it is open, a rank that closes its input stops the launcher from
// reading on, which may leave something for who comes next.
func (f *feed) keep(rankEnd int) { f.rankEnd = rankEnd }

// read returns how many bytes the rank took, which has ended.
func (f *feed) read() int64 {
	<-f.idle
	defer closePipe(f.rankEnd)
	left, err := unix.IoctlGetInt(f.rankEnd, fionread)
	if err != nil {
		left = 0
	}
	return f.written - int64(left)
}
