package ssh

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// jumpList returns the hosts to jump through, separated by commas; "" for none.
func (d *dialing) jumpList() string {
	if d.jumps != "" {
		return d.jumps
	}
	return d.set.proxyJump
}

// jump connects to the last of the jump hosts, through those before it. The first is reached as its own
// configuration says.
func (d *dialing) jump(ctx context.Context, jumps string) (*Client, error) {
	d.phase.enter(phaseConnect)
	d.phase.pause() // a jump host has deadlines of its own
	if d.depth == maxJumps {
		return nil, fmt.Errorf("more than %d jump hosts in a row", maxJumps)
	}
	last, before := jumps, ""
	if i := strings.LastIndexByte(jumps, ','); i >= 0 {
		last, before = jumps[i+1:], jumps[:i]
	}
	r, err := parseJump(last)
	if err != nil {
		return nil, err
	}
	r.jumps, r.depth = before, d.depth+1
	cfg := d.cfg
	cfg.User, cfg.Port = "", 0
	c, err := dial(ctx, r, cfg)
	if err != nil {
		return nil, fmt.Errorf("jump host %w", err)
	}
	return c, nil
}

// parseJump reads [user@]host[:port] or ssh://[user@]host[:port].
func parseJump(s string) (route, error) {
	var r route
	rest := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(s), "ssh://"), "/")
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		r.user, rest = rest[:at], rest[at+1:]
	}
	r.host = rest
	host, port, err := net.SplitHostPort(rest)
	if err == nil {
		r.host = host
		if r.port, err = strconv.Atoi(port); err != nil || r.port < 1 || r.port > 65535 {
			return route{}, fmt.Errorf("jump host %q: want [user@]host[:port]", s)
		}
	}
	r.host = strings.TrimSuffix(strings.TrimPrefix(r.host, "["), "]")
	return r, nil
}

// through opens a channel to the host on a jump host. The jump host's connection belongs to the transport.
func (d *dialing) through(ctx context.Context, jump *Client) (*conn, error) {
	c, err := jump.client.DialContext(ctx, "tcp", net.JoinHostPort(d.set.hostName, strconv.Itoa(d.set.port)))
	if err != nil {
		return nil, fmt.Errorf("jump host %s: %w", jump.host, err)
	}
	return &conn{Conn: &jumpConn{c, jump}}, nil
}

// A jumpConn is a channel of a jump host that nothing else uses.
type jumpConn struct {
	net.Conn
	jump *Client
}

// Close closes the connection to the jump host, and so the channel: the other order could wait for a
// host that is gone.
func (c *jumpConn) Close() error { return c.jump.Close() }

func closeJump(c *Client) error {
	if c == nil {
		return nil
	}
	return c.Close()
}
