package comm

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/pprun/pprun/comm/place"
)

const (
	stagger    = 200 * time.Millisecond // head start of one of the hub's addresses over the next
	relayAfter = 3 * time.Second        // without a proof from any of them, before the relay is tried too
	lastCall   = 500 * time.Millisecond // for them, when the relay works: a rank 0 that is late is so for all
)

// A race tries the hub's addresses; the first that proves to be the hub wins.
type race struct {
	agent   *place.Link
	late    time.Time // when the relay's turn comes, while others still may answer
	left    []place.Address
	tried   []*route
	running int // of tried
	answers chan *route
}

// A route is an address that is tried.
type route struct {
	place.Address
	conn net.Conn
	err  error
	over bool // it has answered, and the others are the race's
}

// reach connects to the hub. Where the link goes through the relay, why says what is wrong with the other ways.
func reach(ctx context.Context, agent *place.Link, late time.Time) (conn net.Conn, why string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	r := &race{agent: agent, late: late, left: agent.Place.Hub, answers: make(chan *route)}
	won := r.run(ctx)
	if won != nil && won.Network == "relay" {
		why = r.reasons()
	}
	cancel()
	for r.running > 0 {
		if a := r.answer(<-r.answers); a.conn != nil {
			a.conn.Close()
		}
	}
	if won != nil {
		return won.conn, why, nil
	}
	var errs []error
	for _, t := range r.tried {
		errs = append(errs, fmt.Errorf("%s: %w", strings.TrimSpace(t.Network+" "+t.Addr), t.err))
	}
	return nil, "", errors.Join(errs...)
}

// run returns nil when no way is left, or the hub wants to be asked again.
func (r *race) run(ctx context.Context) *route {
	var relayed *route
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-next.C:
			if relayed != nil {
				return relayed
			}
			r.start(ctx)
			next.Reset(r.headStart(false))
		case a := <-r.answers:
			switch r.answer(a); {
			case a.err == nil && a.Network != "relay":
				if relayed != nil {
					relayed.conn.Close()
				}
				return a
			case a.err == nil:
				relayed = a
				next.Reset(lastCall)
			case relayed == nil && (r.running == 0 && len(r.left) == 0 || r.turnedAway(a)):
				return nil
			case relayed == nil:
				next.Reset(r.headStart(true))
			}
		}
		if relayed != nil && r.running == 0 {
			return relayed
		}
	}
}

// headStart is the time until the next route is tried.
func (r *race) headStart(failed bool) time.Duration {
	switch {
	case len(r.left) == 0:
		return 1 << 62
	case r.left[0].Network == "relay" && r.running > 0:
		return time.Until(r.late)
	case failed || r.running == 0:
		return 0
	}
	return stagger
}

func (r *race) start(ctx context.Context) {
	t := &route{Address: r.left[0]}
	r.left = r.left[1:]
	r.tried = append(r.tried, t)
	r.running++
	go func() {
		t.conn, t.err = connect(ctx, t.Address, r.agent)
		r.answers <- t
	}()
}

// answer notes that a route has answered.
func (r *race) answer(t *route) *route {
	t.over = true
	r.running--
	return t
}

// turnedAway says whether, after the last answer, it is best to ask again: the hub did not take the relay, or the last of
// the others has answered, one has hung up who may be the hub, and it is too early for the relay.
func (r *race) turnedAway(last *route) bool {
	if last.Network == "relay" {
		return temporary(last.err)
	}
	if r.running > 0 || len(r.left) > 0 && r.left[0].Network != "relay" || time.Now().After(r.late) {
		return false
	}
	return slices.ContainsFunc(r.tried, func(t *route) bool { return temporary(t.err) })
}

// reasons says what is wrong with each direct route.
func (r *race) reasons() string {
	var all []string
	for _, t := range r.tried {
		if t.Network != "relay" {
			all = append(all, t.Addr+": "+t.reason())
		}
	}
	if all == nil {
		return "it has no address"
	}
	return strings.Join(all, "; ")
}

func (t *route) reason() string {
	if !t.over || errors.Is(t.err, os.ErrDeadlineExceeded) {
		return "timed out"
	}
	if hungUp(t.err) {
		return "hung up"
	}
	if errno, ok := errors.AsType[syscall.Errno](t.err); ok {
		return errno.Error()
	}
	return "not this job's hub"
}

// connect connects to one address and proves who is who. Over TLS the hub's verdict on this end comes with its first
// frame only.
func connect(ctx context.Context, a place.Address, agent *place.Link) (net.Conn, error) {
	conn, err := open(ctx, a, agent)
	if err != nil {
		return nil, err
	}
	p := &agent.Place
	if a.Network == "unix" {
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
	if a.Network == "relay" {
		return agent.Relay(ctx)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, a.Network, a.Addr)
	if err == nil {
		keepAlive(conn, agent.Place.Heartbeat)
	}
	return conn, err
}

// secure has both ends of a connection prove who they are.
func secure(ctx context.Context, conn net.Conn, p *place.Place) (*tls.Conn, error) {
	if p.Client == nil {
		return nil, &refusal{"this rank has no certificate for a hub on the network"}
	}
	c, err := clientTLS(poll(conn, neighbours(p)), p.Client, p.Job)
	if err == nil {
		err = c.HandshakeContext(ctx)
	}
	return c, err
}
