package comm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"syscall"
	"time"

	"github.com/pprun/pprun/comm/place"
)

// A refusal is the hub's final word.
type refusal struct{ text string }

func (r *refusal) Error() string { return "the hub refuses this rank: " + r.text }

// dial reaches the hub and returns once it has said welcome. A link that breaks before is tried again: the hub turns
// ranks away for a moment when too many come at once.
func (c *Comm) dial(ctx context.Context, p *place.Place) (*link, error) {
	if len(p.Hub) == 0 {
		return nil, errors.New("comm: the agent names no address of the hub")
	}
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		l, err := c.dialOnce(ctx, p)
		if err == nil {
			return l, nil
		}
		_, final := errors.AsType[*refusal](err)
		if !final && temporary(err) {
			select {
			case <-time.After(wait + rand.N(wait)):
				continue
			case <-ctx.Done():
			}
		}
		if !final && ctx.Err() != nil {
			err = fmt.Errorf("rank 0 (%s) says no welcome; have all ranks called Init? %w", c.nodeName(0), context.Cause(ctx))
		}
		return nil, fmt.Errorf("comm: rank %d cannot join: %w", p.Rank, err)
	}
}

func (c *Comm) dialOnce(ctx context.Context, p *place.Place) (*link, error) {
	conn, err := connectAny(ctx, p)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	l, err := c.enroll(conn, p.Incarnation)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return l, nil
}

// connectAny connects to the first of the hub's addresses to answer. Each gets a head start over the next.
func connectAny(ctx context.Context, p *place.Place) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		conn net.Conn
		err  error
	}
	answers := make(chan answer)
	for i, a := range p.Hub {
		go func() {
			var err error
			select {
			case <-time.After(time.Duration(i) * 200 * time.Millisecond):
			case <-ctx.Done():
				err = ctx.Err()
			}
			var conn net.Conn
			if err == nil {
				if conn, err = connect(ctx, a, p); err != nil {
					err = fmt.Errorf("%s %s: %w", a.Network, a.Addr, err)
				}
			}
			answers <- answer{conn, err}
		}()
	}
	var first net.Conn
	var errs []error
	for range p.Hub {
		switch a := <-answers; {
		case a.err != nil:
			errs = append(errs, a.err)
		case first == nil:
			first = a.conn
			cancel()
		default:
			a.conn.Close()
		}
	}
	if first != nil {
		return first, nil
	}
	return nil, errors.Join(errs...)
}

// connect connects to one address and proves who is who. Over TLS the hub's verdict on this end comes with its first
// frame only.
func connect(ctx context.Context, a place.Address, p *place.Place) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, a.Network, a.Addr)
	if err != nil {
		return nil, err
	}
	keepAlive(conn)
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
	if p.Client == nil {
		conn.Close()
		return nil, &refusal{"this rank has no certificate for a hub on the network"}
	}
	secure, err := clientTLS(poll(conn, neighbours(p)), p.Client, p.Job)
	if err == nil {
		err = secure.HandshakeContext(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}

// enroll says hello and waits for welcome.
func (c *Comm) enroll(conn net.Conn, incarnation uint32) (*link, error) {
	l := newLink(conn, &downLimits)
	mine := signatures(c.fns)
	b, err := appendCBOR(nil, kindHello, hello{
		Protocol: protocol, Job: c.job, Fingerprint: fingerprint(mine),
		Ranks: []helloRank{{c.rank, incarnation, c.slots[c.rank], c.role}},
	})
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(b); err != nil {
		return nil, err
	}
	h, payload, err := l.reader.Next()
	if err != nil {
		return nil, err
	}
	switch h.Kind {
	case kindWelcome:
		var w welcome
		if err := cborDec.Unmarshal(payload, &w); err != nil {
			return nil, err
		}
		if len(w.Slots) != c.Size() {
			return nil, &refusal{fmt.Sprintf("its welcome is for %d ranks, this job has %d", len(w.Slots), c.Size())}
		}
		copy(c.slots, w.Slots)
		return l, nil
	case kindRefuse:
		return nil, &refusal{string(payload)}
	case kindDiffer:
		return nil, c.differ(conn, payload, mine)
	}
	return nil, fmt.Errorf("the hub answers with a frame of kind %d", h.Kind)
}

// differ tells the hub what this rank has registered, and says what differs.
func (c *Comm) differ(conn net.Conn, payload []byte, mine []signature) error {
	var theirs []signature
	if err := cborDec.Unmarshal(payload, &theirs); err != nil {
		return err
	}
	b, err := appendCBOR(nil, kindDiffer, mine)
	if err != nil {
		return err
	}
	if _, err := conn.Write(b); err != nil {
		return err
	}
	return &refusal{"it is another program than rank 0: " + difference(theirs, mine)}
}

// temporary says whether trying again may help.
func temporary(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.EAGAIN)
}

// neighbours counts the ranks of the job on this rank's machine.
func neighbours(p *place.Place) int {
	n := 0
	for _, node := range p.NodeOf {
		if node == p.NodeOf[p.Rank] {
			n++
		}
	}
	return n
}
