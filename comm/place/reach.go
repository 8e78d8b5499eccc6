package place

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// RelayAfter is how long the hub's addresses are tried, without a proof from any of them, before the relay is, too.
	RelayAfter = 3 * time.Second

	stagger  = 200 * time.Millisecond // head start of one of the hub's addresses over the next
	lastCall = 500 * time.Millisecond // for them, when the relay works: a rank 0 that is late is so for all
)

// A race tries the hub's addresses; the first that proves to be the hub wins.
type race struct {
	connect func(context.Context, Address) (net.Conn, error)
	late    time.Time // when the relay's turn comes, while others still may answer
	left    []Address
	tried   []*route
	running int // of tried
	answers chan *route
}

// A route is an address that is tried.
type route struct {
	Address
	conn net.Conn
	err  error
	over bool // it has answered, and the others are the race's
}

// Reach connects to the hub, at that of its addresses whose connection is first: connect makes one and proves who is at the
// other end. The relay comes last, if another may still answer not before late; where it wins, why says what is wrong with
// the others. Temporary tells of the error whether trying again may help.
func Reach(ctx context.Context, hub []Address, late time.Time, connect func(context.Context, Address) (net.Conn, error)) (conn net.Conn, why string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	r := &race{connect: connect, late: late, left: hub, answers: make(chan *route)}
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
		t.conn, t.err = r.connect(ctx, t.Address)
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
		return Temporary(last.err)
	}
	if r.running > 0 || len(r.left) > 0 && r.left[0].Network != "relay" || time.Now().After(r.late) {
		return false
	}
	return slices.ContainsFunc(r.tried, func(t *route) bool { return Temporary(t.err) })
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
	if HungUp(t.err) {
		return "hung up"
	}
	if errno, ok := errors.AsType[syscall.Errno](t.err); ok {
		return errno.Error()
	}
	return "not this job's hub"
}

// Temporary says whether trying again may help after an error of Reach.
func Temporary(err error) bool { return HungUp(err) || errors.Is(err, syscall.EAGAIN) }

// HungUp says whether the other end has ended a connection, without a word why.
func HungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE)
}
