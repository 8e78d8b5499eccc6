//go:build !linux

package ssh

import "net"

// quickAcker has no counterpart outside Linux.
func quickAcker(*net.TCPConn) func() { return nil }
