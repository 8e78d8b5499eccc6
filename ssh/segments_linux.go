package ssh

import (
	"net"

	"golang.org/x/sys/unix"
)

// segments returns how many TCP segments have come over a connection (tcp(7), TCP_INFO): those that are sent again count
// anew. ok: it is known.
func segments(conn net.Conn) (n uint32, ok bool) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return 0, false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0, false
	}
	var info *unix.TCPInfo
	raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	if err != nil || info == nil {
		return 0, false
	}
	return info.Segs_in, true
}
