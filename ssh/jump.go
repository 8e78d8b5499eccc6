package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	xssh "golang.org/x/crypto/ssh"
)

// A jump is the connection to a jump host. All hosts behind it share it: a bastion sees one login, however many hosts
// are reached through it.
type jump struct {
	shared  *Shared
	hosts   string             // how it is called: the hosts to jump through, like ssh -J
	cancel  context.CancelFunc // gives up dialling
	dialled chan struct{}      // closed when client and err are set
	client  *Client
	err     error

	users int   // guarded by shared.mu: hosts behind it that are connected or being dialled
	waits *jump // guarded by shared.mu: the jump host through which this one is dialled; nil: none
}

// jump finds or makes the connection to a jump host and counts its user, who gives it back by leave. by is the jump host
// that is reached through it, nil for other hosts.
func (s *Shared) jump(ctx context.Context, by *jump, hosts string, dial func(context.Context, *jump) (*Client, error)) (*jump, error) {
	s.mu.Lock()
	j := s.jumps[hosts]
	if j == nil || j.gone() {
		j = &jump{shared: s, hosts: hosts, dialled: make(chan struct{})}
		if s.jumps == nil {
			s.jumps = make(map[string]*jump)
		}
		s.jumps[hosts] = j
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // others may wait for it longer
		j.cancel = cancel
		go func() { // leave waits for it
			defer close(j.dialled)
			j.client, j.err = dial(ctx, j)
		}()
	}
	for w := j; by != nil && w != nil; w = w.waits {
		if w == by {
			s.mu.Unlock()
			return nil, fmt.Errorf("jump hosts %s and %s are reached through each other", j.hosts, by.hosts)
		}
	}
	if by != nil {
		by.waits = j
	}
	j.users++
	s.mu.Unlock()
	select {
	case <-j.dialled:
		if j.err == nil {
			return j, nil
		}
	case <-ctx.Done():
	}
	j.leave()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return nil, fmt.Errorf("jump host %w", j.err)
}

// gone reports whether the connection could not be made, or is lost.
func (j *jump) gone() bool {
	select {
	case <-j.dialled:
		return j.err != nil || j.client.Err() != nil
	default:
		return false
	}
}

// leave ends the connection when its last user leaves it.
func (j *jump) leave() {
	j.shared.mu.Lock()
	j.users--
	last := j.users == 0
	if last && j.shared.jumps[j.hosts] == j {
		delete(j.shared.jumps, j.hosts)
	}
	j.shared.mu.Unlock()
	if !last {
		return
	}
	j.cancel()
	<-j.dialled
	if j.client != nil {
		j.client.Close()
	}
}

// lostOr returns why the jump host was lost, if it was, else err.
func (j *jump) lostOr(err error) error {
	if lost := j.client.lostOr(nil); lost != nil {
		return fmt.Errorf("jump host %w", lost)
	}
	return err
}

// jumpList returns the hosts to jump through, separated by commas; "" for none.
func (d *dialing) jumpList() string {
	if d.jumps != "" {
		return d.jumps
	}
	return d.set.proxyJump
}

// jump connects to the last of the jump hosts, through those before it. The first is reached as its own
// configuration says.
func (d *dialing) jump(ctx context.Context, jumps string) (*jump, error) {
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
	return cfg.Shared.jump(ctx, d.is, jumps, func(ctx context.Context, j *jump) (*Client, error) {
		r.is = j
		return dial(ctx, r, cfg)
	})
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

// through opens a channel to the host on the jump host. A pipe is put before it: what reads and writes a channel can only
// be interrupted by the jump host, which may be gone.
func (d *dialing) through(ctx context.Context) (*conn, error) {
	client := d.via.client
	channel, err := client.client.DialContext(ctx, "tcp", net.JoinHostPort(d.set.hostName, strconv.Itoa(d.set.port)))
	if err != nil {
		return nil, d.via.lostOr(fmt.Errorf("jump host %s: %w", client.host, refusal(err)))
	}
	ours, theirs := net.Pipe()
	for _, c := range []struct{ to, from net.Conn }{{channel, theirs}, {theirs, channel}} {
		if err := client.run(func() { io.Copy(c.to, c.from); c.to.Close() }); err != nil {
			ours.Close()
			return nil, fmt.Errorf("jump host %s: %w", client.host, err)
		}
	}
	return &conn{Conn: ours}, nil
}

// refusal is why a jump host opened no channel.
func refusal(err error) error {
	var refused *xssh.OpenChannelError
	switch {
	case !errors.As(err, &refused):
		return trim(err)
	case refused.Reason == xssh.Prohibited:
		return errors.New("forwarding is not allowed there: see AllowTcpForwarding and PermitOpen of its sshd")
	}
	return fmt.Errorf("no connection from there: %s", refused.Message)
}
