package ssh

import (
	"net"

	"golang.org/x/sys/unix"
)

// quickAcker returns a function that makes the kernel acknowledge what arrived at once. sshd writes in
// small pieces under Nagle's algorithm: with delayed acknowledgements the start of a command takes 40 ms
// longer. The kernel falls back to delaying on its own, after a while and after every write, which it takes
// for one half of a dialogue, hence the call after every read and write (tcp(7)).
func quickAcker(c *net.TCPConn) func() {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	set := func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1) }
	return func() { raw.Control(set) }
}
