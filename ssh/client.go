package ssh

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	xssh "golang.org/x/crypto/ssh"
)

const (
	missedKeepAlives = 3                       // intervals that a host may be silent in after it was asked
	keepAliveRequest = "keepalive@openssh.com" // unknown to everybody, and so always answered
)

// A Client is a connection to one host. Its methods may be called concurrently. The caller must call Close,
// also when the connection was lost.
type Client struct {
	host      string
	door      string // the sshd that was reached
	login     string
	via       *jump  // the way there; nil: no jump host
	leave     func() // gives via back, once
	timeout   time.Duration
	client    *xssh.Client
	transport *conn
	running   sync.WaitGroup // all goroutines of the client and its sessions

	done  chan struct{} // closed when the connection has ended
	mu    sync.Mutex    // guards cause; held to add to running
	cause error         // why it was ended from here; nil: it was not
	err   error         // read after done is closed
}

func newClient(d *dialing, client *xssh.Client, transport *conn) *Client {
	c := &Client{
		host: d.host, door: d.door, login: d.set.user + "@" + d.key, timeout: d.phase.timeout,
		client: client, transport: transport, via: d.via, done: make(chan struct{}),
	}
	c.leave = sync.OnceFunc(func() {
		if c.via != nil {
			c.via.leave()
		}
	})
	c.running.Go(c.wait)
	c.running.Go(func() { c.keepAlive(d.cfg.KeepAlive) })
	return c
}

// wait notes the end of the connection.
func (c *Client) wait() {
	err := c.client.Wait()
	c.mu.Lock()
	if c.cause != nil {
		err = c.cause
	}
	c.mu.Unlock()
	if err == nil || err == io.EOF {
		err = errors.New("the host closed the connection")
	}
	if c.via != nil && !errors.Is(err, net.ErrClosed) {
		err = c.via.lostOr(err)
	}
	if !errors.Is(err, net.ErrClosed) {
		err = &Error{Host: c.host, Phase: phaseLost, Err: trim(err)}
	}
	c.err = err
	close(c.done)
}

// keepAlive asks a silent host for a sign of life, and gives up when none comes. Anything that arrives
// is one: an answer may be waiting behind a large upload. Counting ticks, not time, keeps a program that
// was suspended from taking its own sleep for the host's.
func (c *Client) keepAlive(interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var seen int64
	var asked chan struct{} // closed when the host has answered; nil: nothing is asked
	missed := 0
	for {
		select {
		case <-c.done:
			return
		case <-tick.C:
		}
		if now := c.transport.arrived.Load(); now != seen {
			seen, missed = now, 0
			continue
		}
		select {
		case <-asked:
			asked = nil
		default:
		}
		if asked == nil {
			answered := make(chan struct{})
			asked = answered
			c.running.Go(func() {
				c.client.SendRequest(keepAliveRequest, true, nil)
				close(answered)
			})
			continue
		}
		if missed++; missed == missedKeepAlives {
			c.end(fmt.Errorf("no sign of life for %s", interval*(missedKeepAlives+1)))
			return
		}
	}
}

// end closes the connection for a reason. Closing the transport cannot block on the host.
func (c *Client) end(cause error) {
	c.mu.Lock()
	if c.cause == nil {
		c.cause = cause
	}
	c.mu.Unlock()
	c.transport.Close()
}

// run starts f, unless Close has begun to wait for all that run.
func (c *Client) run(f func()) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return c.cause
	}
	c.running.Go(f)
	return nil
}

// Close ends the connection, every session on it and connections to jump hosts that no other host is behind. A command that is
// running there sees the end of its input; it is not killed.
func (c *Client) Close() error {
	c.end(net.ErrClosed)
	c.running.Wait()
	c.leave()
	return nil
}

// Done is closed when the connection has ended, by Close or by loss; Err then says why.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns nil before Done is closed, then [net.ErrClosed] after Close, or an [*Error] about the loss.
func (c *Client) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

// Login returns user@fingerprint: who we are there, and the host's key. Several names of one host have the same.
func (c *Client) Login() string { return c.login }

// Quiet returns for how long not a byte has come from the host. An idle one sends something whenever it is asked for a
// sign of life (Config.KeepAlive).
func (c *Client) Quiet() time.Duration {
	at, _ := c.transport.at.Load().(time.Time)
	return time.Since(at)
}

// Segments returns how many TCP segments have come from the host, those that it sends again because nothing acknowledges
// them each time. ok: it is known.
func (c *Client) Segments() (n uint32, ok bool) { return segments(c.transport.Conn) }

// LocalAddr returns this end of the TCP connection to the host; nil through a jump host or proxy command.
func (c *Client) LocalAddr() net.Addr {
	if tcp, ok := c.transport.Conn.(*net.TCPConn); ok {
		return tcp.LocalAddr()
	}
	return nil
}

// RemoteAddr returns the host's end of the TCP connection; nil through a jump host or proxy command.
func (c *Client) RemoteAddr() net.Addr {
	if tcp, ok := c.transport.Conn.(*net.TCPConn); ok {
		return tcp.RemoteAddr()
	}
	return nil
}
