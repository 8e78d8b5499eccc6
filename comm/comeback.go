package comm

import (
	"errors"
	"fmt"

	"github.com/pprun/pprun/comm/place"
)

// A rank that was lost comes back as a later incarnation of it: it enters once the reader of the old link has ended.

// expect makes room for a new incarnation of a rank: if nobody has noticed yet that the old one is gone, it is now.
func (h *hub) expect(r helloRank) error {
	h.mu.Lock()
	m := h.members[r.Rank]
	err, old := m.refuses(r), m.link
	if h.over {
		err = errOver
	}
	h.mu.Unlock()
	if err == nil && old != nil {
		old.conn.Close()
		<-old.ended
	}
	return err
}

// refuses says why a rank cannot come (again) as a hello says.
func (m *member) refuses(r helloRank) error {
	switch {
	case m.draining && m.final:
		return errors.New(removed)
	case r.Incarnation <= m.incarnation && m.lost != nil:
		return fmt.Errorf("incarnation %d of rank %d is lost, and later ones only may come", r.Incarnation, r.Rank)
	case r.Incarnation <= m.incarnation, m.role != place.Serve, r.Role != place.Serve:
		return fmt.Errorf("rank %d is in already", r.Rank)
	}
	return nil
}

// admit lets new incarnations of lost ranks in, and reads what comes from them.
func (h *hub) admit(l *link, ranks []helloRank) error {
	h.mu.Lock()
	err := h.takeBack(l, ranks)
	if err == nil {
		l.start()
		h.readers.Go(func() { h.read(l) })
	}
	h.mu.Unlock()
	h.flush()
	return err
}

// takeBack gives lost ranks their places again, behind a link that nobody else knows of yet.
func (h *hub) takeBack(l *link, ranks []helloRank) error {
	for _, r := range ranks {
		m := h.members[r.Rank]
		switch err := m.refuses(r); {
		case h.over:
			return errOver
		case err != nil:
			return err
		case m.lost == nil:
			return fmt.Errorf("rank %d is in already", r.Rank)
		}
	}
	var back []int
	for _, r := range ranks {
		m := h.members[r.Rank]
		m.sit(l, r)
		m.lost, m.final = nil, false
		settle(&m.arrived)
		h.seat(m)
		h.present++
		back = append(back, r.Rank)
	}
	h.respread()
	h.links = append(h.links, l)
	l.greet(h.welcome(h.epoch + 1))
	h.publish()
	h.announce(nil, back...)
	for _, m := range h.members {
		h.feed(m)
	}
	return nil
}

// sit puts a rank behind a link.
func (m *member) sit(l *link, r helloRank) {
	m.link, m.port = l, l
	m.slots, m.base = r.Slots, r.Slots
	m.role, m.incarnation, m.death = r.Role, r.Incarnation, nil
	l.ranks, l.members = append(l.ranks, r.Rank), append(l.members, m)
}

// welcome is what a link is told first.
func (h *hub) welcome(epoch uint64) []byte {
	w := welcome{Epoch: epoch, Slots: h.slots(), Roster: h.lists}
	for _, m := range h.members {
		if m.lost != nil {
			w.Lost = append(w.Lost, m.lost.brief())
		}
	}
	return must(appendCBOR(nil, kindWelcome, w))
}

// errOver is why a rank that was started again is not needed any more.
var errOver = errors.New("the job is over")
