package comm

import (
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/pprun/pprun/comm/frame"
)

// gather takes in the ranks of a node, whose agent has proved itself at the other end of secure, which runs over conn. Each
// of their links is a stream, and then as good as a connection of its own. It returns when the trunk ends.
func (d *door) gather(conn, secure net.Conn, allowed func(rank int) bool) error {
	secure.SetDeadline(time.Time{})
	var ranks []int
	for r := range d.comm.Size() {
		if allowed(r) {
			ranks = append(ranks, r)
		}
	}
	if len(ranks) == 0 {
		return fmt.Errorf("a node without ranks")
	}
	t := frame.NewTrunk(secure, len(ranks))
	d.hold(conn, t)
	who := "who comes through the agent of " + d.comm.nodeName(ranks[0])
	t.Run(func(s *frame.Stream) {
		d.greeting.Go(func() {
			d.meet(s, who, func() error { return d.greet(s, allowed) })
		})
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	d.trunks = slices.DeleteFunc(d.trunks, func(other *frame.Trunk) bool { return other == t })
	return nil
}

// hold notes a trunk in place of its connection, which would be cut off when the door closes.
func (d *door) hold(conn net.Conn, t *frame.Trunk) {
	d.settled(conn)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.trunks = append(d.trunks, t)
	if d.closed {
		t.Close(0)
	}
}
