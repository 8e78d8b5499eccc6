package ssh

import (
	"context"
	"net"
	"net/netip"
	"time"
)

const (
	lookupTime     = 5 * time.Second // in which a name has to be found
	nameServerTime = 2 * time.Second // in which one name server has to answer: there may be another
)

// resolver is the system's, but for nameServerTime.
var resolver = &net.Resolver{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if udp, ok := c.(*net.UDPConn); ok {
		return hastyUDP{udp}, nil
	}
	return c, err
}}

// hastyUDP is a question to a name server.
type hastyUDP struct{ *net.UDPConn }

// SetDeadline sets the deadline, or one that is earlier.
func (c hastyUDP) SetDeadline(t time.Time) error {
	if soon := time.Now().Add(nameServerTime); t.IsZero() || t.After(soon) {
		t = soon
	}
	return c.UDPConn.SetDeadline(t)
}

// resolve finds the addresses of the host.
func (d *dialing) resolve(ctx context.Context) (addrs []netip.Addr, err error) {
	network := "ip"
	switch d.set.family {
	case "inet":
		network = "ip4"
	case "inet6":
		network = "ip6"
	}
	if a, err := netip.ParseAddr(d.set.hostName); err == nil {
		return []netip.Addr{a}, nil
	}
	d.phase.enterFor(phaseResolve, min(d.phase.timeout, lookupTime))
	d.cfg.aside(func() {
		addrs, err = resolver.LookupNetIP(ctx, network, d.set.hostName)
		d.phase.pause()
	})
	return addrs, err
}
