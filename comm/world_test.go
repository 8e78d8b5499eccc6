package comm

import (
	"errors"
	"testing"

	"github.com/pprun/pprun/comm/place"
)

// TestTooLate brings a rank back once the job is over: it is told so, which is no refusal.
func TestTooLate(t *testing.T) {
	b, err := NewTestbed(t.Context(), 2, pipe)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- b.Comm(1).Close() }()
	if err := b.Comm(0).Close(); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if err := b.Restart(1); !errors.Is(err, errOver) {
		t.Errorf("got %v", err)
	}
}

// TestNewsAtTheDoor has the agent tell of ranks while they come in: that the first process of one has died, and that the
// second is stopped and goes on.
func TestNewsAtTheDoor(t *testing.T) {
	p := place.Place{Job: "world", Size: 2, Nodes: []string{"node0", "node1"}, NodeOf: []int{0, 1}, Slots: []int{1, 1}}
	b := &Testbed{settings: newSettings(nil), fns: registered.freeze("the test"), role: place.Serve, link: pipe, place: p, comms: make([]*Comm, 2)}
	zero := newComm(p, place.SPMD, b.settings, b.fns)
	b.comms[0] = zero
	b.door = newDoor(newHub(zero), zero, &b.place, signatures(b.fns))
	joined, told := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(told)
		for range 1000 {
			b.door.died(place.Death{Rank: 1, Reason: "killed"})
			b.door.hub.stopped(1, true)
			b.door.hub.stopped(1, false)
		}
	}()
	go func() { joined <- b.join(1, 1) }()
	if err := zero.host(t.Context(), b.door, func(error) {}); err != nil {
		t.Error(err)
	}
	if err := <-joined; err != nil {
		t.Error(err)
	}
	<-told
	b.end(t, false)
}
