package ssh

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"syscall"
	"time"

	xssh "golang.org/x/crypto/ssh"
)

const (
	defaultTimeout   = 10 * time.Second
	defaultKeepAlive = 5 * time.Second
	maxJumps         = 8 // hosts in a row, which ends configurations that jump in circles
)

// A route says whom to connect to and through whom.
type route struct {
	host  string
	user  string // "": as configured
	port  int    // 0: as configured
	jumps string // hosts to jump through, like ssh -J; "": as configured
	depth int    // how many hosts were already jumped through for
	is    *jump  // what is dialled, if that is a jump host
}

// dialing is one connection on its way.
type dialing struct {
	route
	cfg   Config
	set   *settings
	phase *phaser
	keys  *hostKeys
	via   *jump        // nil: no jump host
	addrs []netip.Addr // of the host; nil if others find it
	door  string       // what connections are counted by: the sshd that is reached in the end
	key   string       // fingerprint of the host's key, once it is checked
}

func dial(ctx context.Context, r route, cfg Config) (*Client, error) {
	d := &dialing{route: r, cfg: cfg}
	if d.cfg.KeepAlive <= 0 {
		d.cfg.KeepAlive = defaultKeepAlive
	}
	if d.cfg.Passphrase == nil {
		d.cfg.Passphrase = AskTerminal
	}
	ctx, d.phase = newPhaser(ctx, defaultTimeout)
	if cfg.Timeout > 0 {
		d.phase.timeout = cfg.Timeout
	}
	defer d.phase.end()
	c, err := d.dial(ctx)
	if err != nil {
		return nil, d.explain(ctx, err)
	}
	return c, nil
}

func (d *dialing) dial(ctx context.Context) (*Client, error) {
	d.phase.enter(phaseResolve)
	set, err := loadSettings(ctx, d.route, d.cfg)
	if err != nil {
		return nil, err
	}
	d.set = set
	if d.cfg.Timeout <= 0 && set.connectTimeout > 0 {
		d.phase.timeout = set.connectTimeout
	}
	d.keys = newHostKeys(set, d.cfg)
	if err := d.find(ctx); err != nil {
		return nil, err
	}
	c, err := d.persist(ctx)
	if err != nil && d.via != nil {
		d.via.leave()
	}
	return c, err
}

// persist attempts the connection until it stands, fails for good, or the time is over. Waiting at the door does not count.
func (d *dialing) persist(ctx context.Context) (*Client, error) {
	d.phase.pause()
	leave, err := d.cfg.Shared.enter(ctx, d.door)
	if err != nil {
		return nil, err
	}
	defer leave()
	giveUp := time.Now().Add(d.phase.timeout)
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		c, err := d.attempt(ctx)
		if err == nil || !d.again(ctx, err) || time.Now().After(giveUp) {
			return c, err
		}
		d.phase.pause()
		select { // with jitter, lest all that were sent away come back at once
		case <-time.After(wait/2 + rand.N(wait)):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// find looks for the host: on its jump host, or by its name. A proxy command will find it by itself, and since many hosts
// may be behind one, all connections by one command count as one door.
func (d *dialing) find(ctx context.Context) (err error) {
	port := strconv.Itoa(d.set.port)
	switch jumps := d.jumpList(); {
	case jumps != "":
		if d.via, err = d.jump(ctx, jumps); err == nil {
			d.door = d.via.client.door + " " + net.JoinHostPort(d.set.hostName, port)
		}
	case d.set.proxyCommand != "":
		d.door = d.set.proxyCommand
	default:
		if d.addrs, err = d.resolve(ctx); err == nil {
			d.door = net.JoinHostPort(d.addrs[0].String(), port)
		}
	}
	return err
}

// again reports whether the host closed the connection before authentication: sshd does so when too many
// connections are being made (MaxStartups).
func (d *dialing) again(ctx context.Context, err error) bool {
	if ctx.Err() != nil || !isReset(err) || errors.As(err, new(*Error)) || errors.As(err, new(*commandError)) {
		return false
	}
	switch d.phase.current() {
	case phaseConnect, phaseBanner, phaseKeyExchange:
		return true
	}
	return false
}

func isReset(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// attempt makes the transport and the SSH connection over it.
func (d *dialing) attempt(ctx context.Context) (*Client, error) {
	transport, err := d.connect(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { transport.Close() })
	d.phase.enter(phaseBanner)
	transport.banner = func() { d.phase.enter(phaseKeyExchange) }
	client, err := d.handshake(ctx, transport)
	if err != nil {
		if command, ok := transport.Conn.(*commandConn); ok {
			err = command.explain(err)
		}
		transport.Close()
		return nil, err
	}
	if !stop() { // too late: the transport is being closed
		client.Close()
		return nil, context.Cause(ctx)
	}
	return newClient(d, client, transport), nil
}

// handshake exchanges keys, checks the host's and authenticates.
func (d *dialing) handshake(ctx context.Context, transport *conn) (*xssh.Client, error) {
	a := &authentication{dialing: d}
	defer a.close()
	config := &xssh.ClientConfig{
		User:              d.set.user,
		HostKeyAlgorithms: d.keys.algorithms(),
		HostKeyCallback: func(_ string, _ net.Addr, key xssh.PublicKey) error {
			d.phase.enter(phaseHostKey)
			if err := d.keys.check(ctx, key); err != nil {
				return err
			}
			d.key = xssh.FingerprintSHA256(key)
			d.phase.enter(phaseAuthenticate)
			return nil
		},
		AuthCallback:   func(c *xssh.ClientAuthContext) (xssh.AuthMethod, error) { return a.next(ctx, c.AllowedMethods) },
		BannerCallback: func(string) error { return nil },
	}
	config.Ciphers = restrict(xssh.SupportedAlgorithms().Ciphers, d.set.ciphers)
	config.KeyExchanges = restrict(xssh.SupportedAlgorithms().KeyExchanges, d.set.kex)
	c, channels, requests, err := xssh.NewClientConn(transport, net.JoinHostPort(d.set.hostName, strconv.Itoa(d.set.port)), config)
	if err != nil {
		return nil, a.explain(err)
	}
	return xssh.NewClient(c, channels, requests), nil
}

// restrict returns those of ours that the configuration allows, in our order: it prefers what is fast
// here. If there is none, the configuration speaks of other software's algorithms, and ours stay.
func restrict(ours, allowed []string) []string {
	if allowed == nil {
		return ours
	}
	both := slices.DeleteFunc(slices.Clone(ours), func(a string) bool { return !slices.Contains(allowed, a) })
	if len(both) == 0 {
		return ours
	}
	return both
}

// connect makes the transport: through the jump host, by a proxy command, or by TCP.
func (d *dialing) connect(ctx context.Context) (*conn, error) {
	d.phase.enter(phaseConnect)
	switch {
	case d.via != nil:
		return d.through(ctx)
	case d.addrs == nil:
		return d.command()
	}
	c, err := connectAny(ctx, d.addrs, d.set.port, d.phase.timeout)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, quickAck: quickAcker(c)}, nil
}

// connectAny tries the addresses of a host one after the other, each for its share of the time that is
// left.
func connectAny(ctx context.Context, addrs []netip.Addr, port int, limit time.Duration) (*net.TCPConn, error) {
	deadline := time.Now().Add(limit)
	var first error
	for i, a := range addrs {
		share := time.Until(deadline) / time.Duration(len(addrs)-i)
		dialer := net.Dialer{Timeout: share}
		c, err := dialer.DialContext(ctx, "tcp", netip.AddrPortFrom(a, uint16(port)).String())
		if err == nil {
			return c.(*net.TCPConn), nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}
