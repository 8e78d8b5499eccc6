//go:build !linux

package comm

import (
	"net"
	"time"
)

// userTimeout does nothing where the kernel has no such limit.
func userTimeout(*net.TCPConn, time.Duration) {}
