package launch

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// readAhead is a file that has to be read to know what is in it, such as a terminal. What no rank reads is lost, so
// nothing is read before there is something.
type readAhead struct {
	file *os.File
	bell *bell
}

func (s *readAhead) next(b []byte) (int, error) {
	fds := []unix.PollFd{
		{Fd: int32(s.file.Fd()), Events: unix.POLLIN},
		{Fd: int32(s.bell.r.Fd()), Events: unix.POLLIN},
	}
	wait := -1
	if background(s.file) { // what comes is for others, until this job is in the foreground again
		fds[0].Events, wait = 0, 250
	}
	if _, err := again(func() (int, error) { return unix.Poll(fds, wait) }); err != nil {
		return 0, err
	}
	if fds[1].Revents != 0 {
		s.bell.heard()
		return 0, nil
	}
	if fds[0].Revents == 0 {
		return 0, nil
	}
	n, err := s.file.Read(b)
	if errors.Is(err, unix.EIO) && background(s.file) {
		return 0, nil
	}
	return n, err
}

func (s *readAhead) spent(int64) {}

func (s *readAhead) close() {}
