package comm

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"github.com/pprun/pprun/comm/place"
)

// connect connects to one address and proves who is who. Over TLS the hub's verdict on this end comes with its first
// frame only.
func connect(ctx context.Context, a place.Address, agent *place.Link) (net.Conn, error) {
	conn, err := open(ctx, a, agent)
	if err != nil {
		return nil, err
	}
	p := &agent.Place
	switch a.Network {
	case "node":
		return poll(conn, neighbours(p)), nil
	case "unix":
		uid, err := place.PeerUID(conn.(*net.UnixConn))
		if err == nil && uid != selfUID {
			err = &refusal{fmt.Sprintf("its socket belongs to uid %d, this process to %d", uid, selfUID)}
		}
		if err != nil {
			conn.Close()
			return nil, err
		}
		return poll(conn, neighbours(p)), nil
	}
	encrypted, err := secure(ctx, conn, p)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return encrypted, nil
}

// open connects to an address.
func open(ctx context.Context, a place.Address, agent *place.Link) (net.Conn, error) {
	if a.Network == "relay" || a.Network == "node" {
		return agent.Relay(ctx)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, a.Network, a.Addr)
	if err == nil {
		place.KeepAlive(conn, agent.Place.Heartbeat)
	}
	return conn, err
}

// secure has both ends of a connection prove who they are.
func secure(ctx context.Context, conn net.Conn, p *place.Place) (*tls.Conn, error) {
	if p.Client == nil {
		return nil, &refusal{"this rank has no certificate for a hub on the network"}
	}
	c, err := p.Client.Client(poll(conn, neighbours(p)), p.Job, place.ProtoRank)
	if err == nil {
		err = c.HandshakeContext(ctx)
	}
	return c, err
}
