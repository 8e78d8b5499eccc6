package place

import (
	"cmp"
	"net"
	"time"

	"github.com/pprun/pprun/comm/frame"
)

// KeepAlive makes a network connection notice within the timeout that its other end is gone, before it is a link and
// hears heartbeats: a rank waits long for its welcome. By default TCP takes minutes. It is the kernels that answer: a
// suspended process does not look lost. For the same reason there is no TCP_USER_TIMEOUT, which gives up a connection
// whose other end is there and does not read.
func KeepAlive(conn net.Conn, timeout time.Duration) {
	if c, ok := conn.(*net.TCPConn); ok {
		timeout = cmp.Or(timeout, frame.Timeout)
		c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: timeout / 3, Interval: timeout / 6, Count: 4})
	}
}
