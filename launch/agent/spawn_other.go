//go:build !linux

package agent

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func session() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

func pipe() (r, w int, err error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	var p [2]int
	if err := syscall.Pipe(p[:]); err != nil {
		return -1, -1, err
	}
	syscall.CloseOnExec(p[0])
	syscall.CloseOnExec(p[1])
	return p[0], p[1], nil
}

func adoptOrphans() {}

func hideMemory() {} // macOS writes no cores unless told to

var selfPath, _ = os.Executable()

func openSelf() (*os.File, error) { return os.Open(selfPath) }

func descriptorPath(f *os.File) string { return f.Name() } // nothing can be executed by a descriptor

func bootID() string {
	id, _ := unix.Sysctl("kern.bootsessionuuid")
	return id
}

// fionread is the ioctl that tells how much a pipe holds: FIONREAD of <sys/filio.h>.
const fionread = 0x4004667f

func enlarge(syscall.RawConn) {}

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
