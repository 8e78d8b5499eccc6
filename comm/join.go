package comm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pprun/pprun/comm/place"
)

var selfUID = os.Getuid()

// join makes this process a rank of its job.
func join(ctx context.Context, agent *place.Link, job place.Job, role place.Role, s settings, fns []*function) (*Comm, error) {
	p := &agent.Place
	if err := checkPlace(p); err != nil {
		return nil, err
	}
	c := newComm(*p, role, s, fns)
	c.launched = job
	if role == place.Serve {
		c.kill = c.killSelf
	}
	leave := func(err error) {
		c.left.Store(true)
		if err == nil {
			agent.Bye()
		} else {
			agent.Close()
		}
	}
	go c.watchAgent(agent)
	var err error
	if p.Rank > 0 {
		err = c.joinHub(ctx, agent, leave)
	} else {
		err = c.openHub(ctx, agent, signatures(fns), leave)
	}
	if err != nil {
		c.left.Store(true)
		return nil, err
	}
	return c, nil
}

// joinHub makes this process a rank above 0.
func (c *Comm) joinHub(ctx context.Context, agent *place.Link, leave func(error)) error {
	l, err := c.dial(ctx, agent)
	if err != nil {
		return err
	}
	c.orphaned = func(why string) { agent.Orphan(why) }
	var stopped atomic.Bool // rank 0 is
	agent.Hear(place.Told{Stopped: func(rank int, is bool) {
		if rank == 0 {
			stopped.Store(is)
		}
	}})
	c.run(l, agent.Place.Heartbeat, stopped.Load, leave)
	return nil
}

// openHub makes this process rank 0, and waits for the others.
func (c *Comm) openHub(ctx context.Context, agent *place.Link, fns []signature, leave func(error)) error {
	h := newHub(c)
	h.informed = true
	h.report = func(r place.Ran) { agent.Ran(r) }
	h.missed = func(m place.Missed) { agent.Missed(m) }
	d := newDoor(h, c, &agent.Place, fns)
	agent.Hear(place.Told{Died: d.died, Stopped: h.stopped})
	d.open(agent.Listeners)
	explainBy(func() string { return "rank 0 waits in Init for " + d.absent() + " to join" })
	if err := c.host(ctx, d, leave); err != nil {
		return err
	}
	agent.Joined()
	return nil
}

// checkPlace checks what must be true of every place.
func checkPlace(p *place.Place) error {
	ok := p.Size > 0 && p.Rank >= 0 && p.Rank < p.Size && len(p.NodeOf) == p.Size && len(p.Slots) == p.Size
	for _, n := range p.NodeOf {
		ok = ok && n >= 0 && n < len(p.Nodes)
	}
	if !ok {
		return fmt.Errorf("comm: the agent gives rank %d of %d a place that makes no sense", p.Rank, p.Size)
	}
	return nil
}

// watchAgent ends the process when its agent is gone: nobody else could, and nobody would read what it prints.
func (c *Comm) watchAgent(agent *place.Link) {
	<-agent.Lost()
	if c.left.Load() {
		return
	}
	if c.launched != nil {
		if exit := complainOf(c.launched.End(nil)); exit > 0 { // rank 0 has not left, though it had the time
			os.Exit(exit)
		}
	}
	complain("rank %d: its agent is gone", c.rank)
	os.Exit(1)
}

// patience is the time that a rank gives the launcher to end it before it speaks itself: what rank 0 has said then is
// the reason, and what the user should hear of.
const patience = 800 * time.Millisecond

// host makes rank 0 and its hub work, once all ranks have come through the door.
func (c *Comm) host(ctx context.Context, d *door, leave func(error)) error {
	h := d.hub
	if err := d.wait(ctx); err != nil {
		d.close()
		return err
	}
	c.connect(h)
	hi, links := h.welcome(0), h.links
	for _, l := range links { // before any reader starts: nothing may overtake a welcome
		l.greet(hi)
		l.start()
		h.readers.Add(1) // all before the first can be done
	}
	for _, l := range links {
		l.flush()
		go func() {
			defer h.readers.Done()
			h.read(l)
		}()
	}
	close(d.started)
	heart := startHeart(d.place.Heartbeat, h.linked, judge{h.excuses, h.hear})
	c.cleanup = func(err error) {
		h.finish(err)
		heart.end()
		d.close()
		leave(err)
	}
	return nil
}

// run makes a rank above 0 work on a link that was welcomed. stopped says whether rank 0 is known to be stopped.
func (c *Comm) run(l *link, heartbeat time.Duration, stopped func() bool, leave func(error)) {
	c.up = l
	l.start()
	var reader sync.WaitGroup
	reader.Go(func() { c.read(l) })
	heart := startHeart(heartbeat, func() []*link { return []*link{l} }, judge{func(*link) bool { return stopped() }, func(*link, hearing, hearing) {}})
	c.cleanup = func(err error) {
		l.close()
		heart.end()
		reader.Wait()
		leave(err)
	}
}

// read handles what the hub sends until the link ends.
func (c *Comm) read(l *link) {
	for {
		h, payload, err := l.reader.Next()
		if err == nil {
			if len(payload) > lentLen {
				payload = append([]byte(nil), payload...)
			}
			if int64(h.Src) < int64(c.Size()) {
				err = c.receive(h, payload)
			} else {
				err = fmt.Errorf("a frame of rank %d of %d", h.Src, c.Size())
			}
		}
		if err != nil {
			reason := "the link to the hub broke: " + err.Error()
			if errors.Is(err, io.EOF) {
				reason = "it ended, or the link to it was cut"
			}
			why := l.reason()
			if why != "" {
				reason = why
			}
			select {
			case <-c.bye:
			default:
				c.orphaned(why)
			}
			c.fail(&LostError{Rank: 0, Node: c.nodeName(0), Reason: reason})
			l.conn.Close()
			return
		}
	}
}
