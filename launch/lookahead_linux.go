package launch

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// lookAhead is a pipe or a stream socket, whose bytes are looked at and then left in it until a rank is known to have
// read them. So the writer is held up as if the rank read them here.
type lookAhead struct {
	fd    int // others share it, its flags too: nothing is set on it
	view  view
	epoll int // tells of every change of fd, once, and of the bell
	bell  *bell

	given, taken int64 // bytes that next has returned; bytes of them that are out of fd
}

// view is how to look into a file, and how to take what was seen out of it. Neither blocks.
type view interface {
	peek(b []byte, skip int) (int, error) // returns what follows skip bytes; maybe less than there is
	take(n int) (int, error)
	close()
}

// newLookAhead returns nil where file is neither a pipe nor a stream socket.
func newLookAhead(file *os.File, b *bell) (source, error) {
	s := &lookAhead{fd: int(file.Fd()), bell: b}
	var err error
	if s.view, err = newView(s.fd); s.view == nil || err != nil {
		return nil, err
	}
	if s.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		s.view.close()
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	for fd, events := range map[int]uint32{s.fd: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET, int(b.r.Fd()): unix.EPOLLIN} {
		if err := unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}); err != nil {
			s.close()
			return nil, os.NewSyscallError("epoll_ctl", err)
		}
	}
	return s, nil
}

func newView(fd int) (view, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, nil
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFIFO:
		return newPipeView(fd)
	case unix.S_IFSOCK:
		if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err == nil && kind == unix.SOCK_STREAM {
			return socketView(fd), nil
		}
	}
	return nil, nil
}

func (s *lookAhead) next(b []byte) (int, error) {
	ended := s.ended() // asked first: then nothing comes after what is counted next
	held, err := unix.IoctlGetInt(s.fd, unix.TIOCINQ)
	if err != nil {
		return 0, os.NewSyscallError("ioctl", err)
	}
	seen := int(s.given - s.taken)
	if held > seen {
		n, err := s.view.peek(b, seen)
		s.given += int64(n)
		if n > 0 || err != nil {
			return n, err
		}
	} else if ended {
		return 0, io.EOF
	}
	return 0, s.wait()
}

// ended says whether nobody can write any more.
func (s *lookAhead) ended() bool {
	fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLRDHUP}}
	_, err := again(func() (int, error) { return unix.Poll(fds, 0) })
	return err != nil || fds[0].Revents != 0
}

// wait waits until there is more, or the end, or the bell rings. A writer that goes on with a write once there is room
// may do so unnoticed; but as long as something is left that a rank has not read, its reading will ring the bell.
func (s *lookAhead) wait() error {
	var events [2]unix.EpollEvent
	n, err := again(func() (int, error) { return unix.EpollWait(s.epoll, events[:], -1) })
	for _, e := range events[:max(n, 0)] {
		if int(e.Fd) != s.fd {
			s.bell.heard()
		}
	}
	return os.NewSyscallError("epoll_wait", err)
}

func (s *lookAhead) spent(n int64) {
	for s.taken < n {
		m, err := s.view.take(int(n - s.taken))
		if m <= 0 || err != nil { // another process was faster
			break
		}
		s.taken += int64(m)
	}
	s.taken = max(s.taken, n)
}

func (s *lookAhead) close() {
	unix.Close(s.epoll)
	s.view.close()
}
