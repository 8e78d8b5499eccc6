package launch

import (
	"os"

	"golang.org/x/sys/unix"
)

// socketView looks into a stream socket, such as the input of a command that sshd runs.
type socketView int

func (v socketView) peek(b []byte, skip int) (int, error) {
	all := make([]byte, skip+len(b))
	n, err := v.receive(all, unix.MSG_PEEK)
	return copy(b, all[min(skip, n):n]), err
}

func (v socketView) take(n int) (int, error) { return v.receive(make([]byte, n), 0) }

func (v socketView) receive(b []byte, flags int) (int, error) {
	n, err := again(func() (int, error) {
		n, _, err := unix.Recvfrom(int(v), b, flags|unix.MSG_DONTWAIT)
		return n, err
	})
	if err == unix.EAGAIN {
		return 0, nil
	}
	return max(n, 0), os.NewSyscallError("recvfrom", err)
}

func (v socketView) close() {}
