package ssh

import (
	"net"
	"testing"
)

func TestDial(t *testing.T) {
	h := startHost(t, "")
	h.knows("", "ed25519")
	c := mustDial(t, "node3", Config{ConfigFile: h.config("node3")})
	if got := output(t, c, "echo hello"); got != "hello\n" {
		t.Errorf("got %q", got)
	}
	if got := c.RemoteAddr().String(); got != h.address() {
		t.Errorf("remote address %s, want %s", got, h.address())
	}
	if got := c.LocalAddr().(*net.TCPAddr).IP.String(); got != "127.0.0.1" {
		t.Errorf("local address %s", got)
	}
	if c.Err() != nil {
		t.Error(c.Err())
	}
	c.Close()
	<-c.Done()
	if c.Err() != net.ErrClosed {
		t.Errorf("after Close: %v", c.Err())
	}
}
