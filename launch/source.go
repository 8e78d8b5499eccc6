package launch

import (
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// source is where standard input comes from. Whatever no rank reads of it stays there for who reads next, as far as that
// kind of file allows; there is a file for each kind. A source belongs to one goroutine.
type source interface {
	// next returns bytes that follow those it has returned before. Where there are none yet it waits for some, or for
	// the bell, and may return none and no error; io.EOF is the end.
	next(b []byte) (int, error)

	// spent says that the first n of all bytes that next has returned were read by a rank, and are nobody else's.
	spent(n int64)

	close()
}

// openSource finds what can be done with a file.
func openSource(file *os.File, b *bell) (source, error) {
	if s := newWindBack(file); s != nil {
		return s, nil
	}
	if s, err := newLookAhead(file, b); s != nil || err != nil {
		return s, err
	}
	return &readAhead{file, b}, nil
}

// bell wakes who waits for a source.
type bell struct {
	r, w *os.File // r is readable once it rang
	rung atomic.Bool
}

func newBell() (*bell, error) {
	r, w, err := os.Pipe()
	return &bell{r: r, w: w}, err
}

func (b *bell) ring() {
	if b.rung.CompareAndSwap(false, true) {
		b.w.Write([]byte{0})
	}
}

// heard is for who has found r readable: what was to be told is looked up only then.
func (b *bell) heard() {
	b.r.Read([]byte{0})
	b.rung.Store(false)
}

func (b *bell) close() {
	b.r.Close()
	b.w.Close()
}

// again repeats a system call that a signal has interrupted.
func again[T any](call func() (T, error)) (T, error) {
	for {
		if v, err := call(); err != unix.EINTR {
			return v, err
		}
	}
}
