package comm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/pprun/pprun/comm/place"
)

// A refusal is the hub's final word.
type refusal struct{ text string }

func (r *refusal) Error() string { return "the hub refuses this rank: " + r.text }

// dial reaches the hub and returns once it has said welcome. A link that breaks before is tried again: the hub turns
// ranks away for a moment when too many come at once.
func (c *Comm) dial(ctx context.Context, agent *place.Link) (*link, error) {
	p := &agent.Place
	if len(p.Hub) == 0 {
		return nil, errors.New("comm: the agent names no address of the hub")
	}
	began := time.Now()
	late := began.Add(place.RelayAfter)
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		l, err := c.dialOnce(ctx, agent, late)
		if err == nil {
			return l, nil
		}
		// Who turns a rank away is there: its relay can wait, though not for ever, since it may be a stranger.
		if now := time.Now(); now.Before(late) {
			late = now.Add(min(place.RelayAfter, began.Add(3*place.RelayAfter).Sub(now)))
		}
		_, final := errors.AsType[*refusal](err)
		if !final && place.Temporary(err) {
			select {
			case <-time.After(wait + rand.N(wait)):
				continue
			case <-ctx.Done():
			}
		}
		if !final && ctx.Err() != nil {
			err = fmt.Errorf("rank 0 (%s) says no welcome; have all ranks called Init? %w", c.nodeName(0), context.Cause(ctx))
		}
		return nil, errorf("rank %d cannot join: %w", p.Rank, err)
	}
}

func (c *Comm) dialOnce(ctx context.Context, agent *place.Link, late time.Time) (*link, error) {
	conn, why, err := place.Reach(ctx, agent.Place.Hub, late, func(ctx context.Context, a place.Address) (net.Conn, error) {
		return connect(ctx, a, agent)
	})
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	if why != "" {
		agent.Relayed(why)
	}
	l, err := c.enroll(conn, agent.Place.Incarnation)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return l, nil
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
		if err := c.grow(w.Roster); err != nil {
			return nil, err
		}
		if len(w.Slots) != c.Size() {
			return nil, &refusal{fmt.Sprintf("its welcome is for %d ranks, this job has %d", len(w.Slots), c.Size())}
		}
		c.join(w)
		return l, nil
	case kindBye:
		return nil, errOver
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
