package ssh

import (
	"bytes"
	"net"
	"sync/atomic"
	"time"
)

// A conn is the transport of a connection: TCP, a channel of a jump host, or a proxy command. It counts
// what arrives, acknowledges it at once and tells when the host has said that it speaks SSH.
type conn struct {
	net.Conn
	arrived  atomic.Int64 // bytes read
	at       atomic.Value // time.Time when the last of them came
	quickAck func()       // nil where there is no TCP connection of our own

	banner func() // called once by the reader, when the banner was read
	recent []byte // last bytes before the banner; the reader's
}

var bannerPrefix = []byte("SSH-")

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n == 0 {
		return n, err
	}
	c.arrived.Add(int64(n))
	c.at.Store(time.Now())
	if c.quickAck != nil {
		c.quickAck()
	}
	if c.banner != nil {
		c.recent = append(c.recent, p[:n]...)
		if bytes.Contains(c.recent, bannerPrefix) {
			c.banner()
			c.banner, c.recent = nil, nil
		} else if len(c.recent) > len(bannerPrefix) {
			c.recent = bytes.Clone(c.recent[len(c.recent)-len(bannerPrefix):])
		}
	}
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if c.quickAck != nil {
		c.quickAck()
	}
	return n, err
}
