package comm

import (
	"io"
	"syscall"
)

// tryWriter returns a function that writes to a connection what it takes without blocking, nil where there is none.
func tryWriter(conn io.ReadWriteCloser) func([]byte) (int, error) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return func(b []byte) (n int, err error) {
		werr := raw.Write(func(fd uintptr) bool {
			for n < len(b) && err == nil {
				var m int
				m, err = syscall.Write(int(fd), b[n:])
				if err == syscall.EINTR {
					err = nil
					continue
				}
				n += max(m, 0)
			}
			return true
		})
		if err == syscall.EAGAIN {
			err = nil
		}
		if err == nil {
			err = werr
		}
		return n, err
	}
}
