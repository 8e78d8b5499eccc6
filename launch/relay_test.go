package launch

import (
	"testing"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/launch/agent"
)

// An agent speaks only for its own node, to nodes of the job, and never for all their streams.
func TestExchangeRefusesFramesOfOthers(t *testing.T) {
	nodes := []*node{{index: 0}, {index: 1}, {index: 2}}
	var x exchange
	for _, c := range []struct {
		open bool
		h    frame.Header
		ok   bool
	}{
		{false, frame.Header{Src: 1, Dst: 0, ID: 1}, false},
		{true, frame.Header{Src: 1, Dst: 0, ID: 1}, true},
		{true, frame.Header{Src: 2, Dst: 0, ID: 1}, false},
		{true, frame.Header{Src: 1, Dst: 3, ID: 1}, false},
		{true, frame.Header{Src: 1, Dst: 1<<32 - 1, ID: 1}, false},
		{true, frame.Header{Src: 1, Dst: 0, ID: 0}, false},
	} {
		if c.open {
			x.open(nodes)
		}
		c.h.Kind = agent.KindRelayClose
		if err := x.pass(nodes[1], c.h, []byte("why")); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c.h, err)
		}
	}
	m, ok := nodes[0].next()
	if _, more := nodes[0].next(); !ok || more || string(m.payload[frame.HeaderLen:]) != "why" {
		t.Errorf("node 0 is sent %q (%v), and more: %v", m.payload, ok, more)
	}
}

// What is passed on lets all else go first.
func TestPassedOnGoesLast(t *testing.T) {
	n := &node{conn: agent.NewConn(nil)}
	n.postLast(message{Header: frame.Header{ID: 3}})
	n.postLast(message{Header: frame.Header{ID: 4}})
	n.send(agent.KindBeat, 1)
	n.send(agent.KindKill, 2)
	for want := uint64(1); want <= 4; want++ {
		if m, ok := n.next(); !ok || m.ID != want {
			t.Errorf("frame %d is sent as number %d", m.ID, want)
		}
	}
	if _, ok := n.next(); ok {
		t.Error("one frame too many")
	}
}
