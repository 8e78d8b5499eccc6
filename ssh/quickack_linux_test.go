package ssh

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// TestQuickAck talks back and forth, after which the kernel delays acknowledgements unless told otherwise
// after every read.
func TestQuickAck(t *testing.T) {
	c := connect(t, Config{})
	s, err := c.Start(t.Context(), "exec cat")
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if _, err := s.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if !quick(t, c.transport.Conn) {
		t.Error("acknowledgements are delayed")
	}
	plain := c.transport.Conn.(*net.TCPConn)
	raw, err := plain.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	// What was just seen can also look otherwise:
	raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0) })
	if quick(t, plain) {
		t.Error("TCP_QUICKACK says nothing here")
	}
}

func quick(t *testing.T, c net.Conn) bool {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var value int
	raw.Control(func(fd uintptr) { value, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK) })
	if err != nil {
		t.Fatal(err)
	}
	return value != 0
}
