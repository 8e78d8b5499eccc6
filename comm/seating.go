package comm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// enter takes a link's ranks in.
func (d *door) enter(l *link, hi hello) error {
	d.mu.Lock()
	late, err := d.missing == 0, d.err
	if err == nil && !late {
		err = d.seat(l, hi)
	}
	d.mu.Unlock()
	if err == nil && late {
		err = d.readmit(l, hi)
	}
	return err
}

// seat takes ranks in before the start. d.mu is held. The hub hears of its members already, through the agent.
func (d *door) seat(l *link, hi hello) error {
	d.hub.mu.Lock()
	defer d.hub.mu.Unlock()
	for _, r := range hi.Ranks {
		if m := d.hub.members[r.Rank]; m.link != nil && r.Incarnation <= m.incarnation {
			return fmt.Errorf("rank %d is in already", r.Rank)
		}
	}
	for _, r := range hi.Ranks {
		m := d.hub.members[r.Rank]
		if m.link != nil { // an earlier incarnation of it did not live to see the start
			d.dismiss(m.link)
		}
		m.sit(l, r)
		d.comm.slots[r.Rank] = r.Slots
		d.missing--
	}
	d.hub.links = append(d.hub.links, l)
	if d.missing == 0 {
		d.decide()
	}
	return nil
}

// dismiss takes a link's ranks out again before the start. d.mu and the hub's are held.
func (d *door) dismiss(l *link) {
	l.conn.Close()
	d.hub.links = slices.DeleteFunc(d.hub.links, func(other *link) bool { return other == l })
	for _, r := range l.ranks {
		d.hub.members[r].link = nil
		d.missing++
	}
}

// readmit takes new incarnations of lost ranks in, after the start.
func (d *door) readmit(l *link, hi hello) error {
	<-d.started
	for _, r := range hi.Ranks {
		if err := d.hub.expect(r); err != nil {
			return err
		}
	}
	return d.hub.admit(l, hi.Ranks)
}

// decide ends the waiting: all are in. d.mu is held, or nobody else knows of d yet.
func (d *door) decide() {
	if d.comm.Slots() == 0 {
		d.err = errors.New("no rank has a slot: nobody would run a task")
	}
	close(d.decided)
}

// give gives the start up.
func (d *door) give(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil && d.missing > 0 {
		d.err = err
		close(d.decided)
	}
}

// waitsWord is how long Init waits before it says for whom. It says so again ever more rarely.
const waitsWord = 2 * time.Second

// wait waits until all ranks are in. If they do not come it tells those that are there.
func (d *door) wait(ctx context.Context) error {
	for word, waits := waitsWord, true; waits; word = min(5*word, time.Minute) {
		select {
		case <-d.decided:
			waits = false
		case <-ctx.Done():
			d.give(fmt.Errorf("%s did not join: %w", d.absent(), context.Cause(ctx)))
			waits = false
		case <-time.After(word):
			complain("rank 0 waits in Init for %s to join", d.absent())
		}
	}
	d.mu.Lock()
	err := d.err // from here on neither it nor the links change
	d.mu.Unlock()
	if err == nil {
		return nil
	}
	for _, l := range d.hub.links {
		refuse(l.conn, err)
		l.conn.Close()
	}
	return errorf("%w", err)
}

// absent names the ranks that are not in.
func (d *door) absent() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	n := 0
	for _, m := range d.hub.members[1:] {
		if m.link != nil {
			continue
		}
		if n++; n <= 10 {
			names = append(names, fmt.Sprintf("%d (%s)", m.rank, d.comm.nodeName(m.rank)))
		}
	}
	if n > 10 {
		names = append(names, fmt.Sprintf("%d more", n-10))
	}
	return "rank " + strings.Join(names, ", ")
}
