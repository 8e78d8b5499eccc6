//go:build !linux

package launch

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func ownExecutable() (string, error) { return os.Executable() }

func cloexecPair() ([2]int, error) {
	syscall.ForkLock.RLock() // no fork between the descriptors' birth and their close-on-exec mark
	defer syscall.ForkLock.RUnlock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	return fds, err
}
