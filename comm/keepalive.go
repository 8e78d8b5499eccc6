package comm

import (
	"net"
	"time"
)

// silence is how long the other end of a network link may be silent before the link counts as broken. By default TCP
// takes minutes to notice that a network is cut. It is the kernels that answer: a suspended process does not look lost.
const silence = 15 * time.Second

// keepAlive makes a network connection notice within silence that its other end is gone.
func keepAlive(conn net.Conn) {
	if c, ok := conn.(*net.TCPConn); ok {
		c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: silence / 3, Interval: silence / 6, Count: 4})
		userTimeout(c, silence)
	}
}
