package launch

import (
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
	if _, err := again(func() (int, error) { return unix.Poll(fds, -1) }); err != nil {
		return 0, err
	}
	if fds[1].Revents != 0 {
		s.bell.heard()
		return 0, nil
	}
	return s.file.Read(b)
}

func (s *readAhead) spent(int64) {}

func (s *readAhead) close() {}
