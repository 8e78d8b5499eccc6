package comm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/pprun/pprun/comm/place"
)

// World makes a job of size ranks in this process, for package commtest: use that. Rank i is [i], on a node of its own
// with one slot unless opts say otherwise. All frames between the ranks go through a hub, as in a real job. The ranks
// must be closed all at once (Close is collective), or aborted.
func World(ctx context.Context, size int, opts ...InitOption) ([]*Comm, error) {
	if size < 1 {
		return nil, fmt.Errorf("comm: a world of %d ranks: want 1 or more", size)
	}
	s, fns := newSettings(opts), registered.freeze(caller(1))
	p := place.Place{Job: "world", Size: size}
	for rank := range size {
		p.Nodes = append(p.Nodes, fmt.Sprintf("node%d", rank))
		p.NodeOf = append(p.NodeOf, rank)
		p.Slots = append(p.Slots, 1)
	}
	comms := make([]*Comm, size)
	for rank := range comms {
		p.Rank = rank
		comms[rank] = newComm(p, place.SPMD, s, fns)
	}
	leave := func(error) {}
	h := newHub(comms[0])
	d := newDoor(h, comms[0], &p, signatures(fns))
	errs := make([]error, size)
	var all sync.WaitGroup
	for rank := 1; rank < size; rank++ {
		near, far := net.Pipe()
		d.greeting.Go(func() {
			if err := d.greet(near, func(r int) bool { return r == rank }); err != nil {
				near.Close()
			}
		})
		all.Go(func() {
			l, err := comms[rank].enroll(far, 0)
			if err != nil {
				far.Close()
				errs[rank] = err
				return
			}
			comms[rank].run(l, leave)
		})
	}
	errs[0] = comms[0].host(ctx, d, leave)
	all.Wait()
	return comms, errors.Join(errs...)
}
