package comm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"github.com/pprun/pprun/comm/place"
)

// World makes a job of size ranks in this process, for package commtest: use that. Rank i is [i], on a node of its own
// with one slot unless opts say otherwise. All frames between the ranks go through a hub, as in a real job. The ranks
// must be closed all at once (Close is collective), or aborted.
func World(ctx context.Context, size int, opts ...InitOption) ([]*Comm, error) {
	b, err := newTestbed(ctx, size, place.SPMD, pipe, opts)
	if err != nil {
		return nil, err
	}
	return b.comms, nil
}

// A Testbed is a job in one process whose ranks above 0 only serve, and may be lost. It is for package commtest: use
// that. Its methods must not be called at the same time for one rank.
type Testbed struct {
	place    place.Place
	settings settings
	fns      []*function
	role     place.Role // of the ranks above 0
	link     func(rank int) (near, far net.Conn)
	door     *door
	comms    []*Comm // the latest incarnations

	hubStopped atomic.Bool // as the agents of the others know
}

// NewTestbed makes a job of size ranks. link makes the two ends of a rank's link: near is the hub's.
func NewTestbed(ctx context.Context, size int, link func(rank int) (near, far net.Conn), opts ...InitOption) (*Testbed, error) {
	return newTestbed(ctx, size, place.Serve, link, opts)
}

func pipe(int) (near, far net.Conn) { return net.Pipe() }

func newTestbed(ctx context.Context, size int, role place.Role, link func(int) (near, far net.Conn), opts []InitOption) (*Testbed, error) {
	if size < 1 {
		return nil, fmt.Errorf("comm: a world of %d ranks: want 1 or more", size)
	}
	b := &Testbed{settings: newSettings(opts), fns: registered.freeze(caller(2)), role: role, link: link, comms: make([]*Comm, size)}
	b.place = place.Place{Job: "world", Size: size, Heartbeat: b.settings.heartbeat}
	for rank := range size {
		b.place.Nodes = append(b.place.Nodes, fmt.Sprintf("node%d", rank))
		b.place.NodeOf = append(b.place.NodeOf, rank)
		b.place.Slots = append(b.place.Slots, 1)
	}
	zero := newComm(b.place, place.SPMD, b.settings, b.fns)
	b.comms[0] = zero
	b.door = newDoor(newHub(zero), zero, &b.place, signatures(b.fns))
	errs := make([]error, size)
	var all sync.WaitGroup
	for rank := 1; rank < size; rank++ {
		all.Go(func() { errs[rank] = b.join(rank, 0) })
	}
	errs[0] = zero.host(ctx, b.door, func(error) {})
	all.Wait()
	return b, errors.Join(errs...)
}

// join makes an incarnation of a rank and has it welcomed.
func (b *Testbed) join(rank int, incarnation uint32) error {
	p := b.place
	p.Rank, p.Incarnation = rank, incarnation
	c := newComm(p, b.role, b.settings, b.fns)
	near, far := b.link(rank)
	b.door.greeting.Go(func() {
		if err := b.door.greet(near, func(r int) bool { return r == rank }); err != nil {
			near.Close()
		}
	})
	l, err := c.enroll(far, incarnation)
	if err != nil {
		far.Close()
		return err
	}
	b.comms[rank] = c
	c.run(l, p.Heartbeat, func() bool { return b.hubStopped.Load() }, func(error) {})
	return nil
}

// Comm returns the latest incarnation of a rank.
func (b *Testbed) Comm(rank int) *Comm { return b.comms[rank] }

// Kill breaks the link of a rank above 0 and waits until both ends have noticed.
func (b *Testbed) Kill(rank int) {
	h := b.door.hub
	h.mu.Lock()
	near := h.members[rank].link
	h.mu.Unlock()
	b.comms[rank].up.(*link).conn.Close()
	if near != nil {
		near.conn.Close()
		<-near.ended
	}
	<-b.comms[rank].broken
}

// Restart brings the next incarnation of a rank that was killed.
func (b *Testbed) Restart(rank int) error {
	h := b.door.hub
	h.mu.Lock()
	incarnation := h.members[rank].incarnation + 1
	h.mu.Unlock()
	return b.join(rank, incarnation)
}

// Stop tells the job what an agent sees: the process of a rank is stopped, or goes on. What it sends and does is the
// caller's affair.
func (b *Testbed) Stop(rank int, stopped bool) {
	if rank == 0 {
		b.hubStopped.Store(stopped)
		return
	}
	b.door.hub.stopped(rank, stopped)
}

// GiveUp says that a rank that was killed will not be restarted.
func (b *Testbed) GiveUp(rank int) {
	h := b.door.hub
	h.mu.Lock()
	h.abandon(h.members[rank])
	h.mu.Unlock()
	h.flush()
}
