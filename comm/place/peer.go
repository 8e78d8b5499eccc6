package place

import "net"

// PeerUID returns the uid of the process that made the other end of conn.
func PeerUID(conn *net.UnixConn) (int, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return -1, err
	}
	uid := -1
	var sockErr error
	if err := raw.Control(func(fd uintptr) { uid, sockErr = peerUID(int(fd)) }); err != nil {
		return -1, err
	}
	return uid, sockErr
}
