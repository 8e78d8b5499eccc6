package comm

import (
	"fmt"
	"time"

	"github.com/pprun/pprun/comm/place"
)

// The hub sees that a link has ended. How the process at its other end did is known to its agent, and through the
// launcher to rank 0's, which tells rank 0 a moment later: a LostError that a user is to get waits for that.

// newsTime is how long it waits at most.
const newsTime = 2 * time.Second

// deadTime is what the link of a rank that has died may still hold back: what it had sent is read before.
const deadTime = time.Second

// died takes the news of a rank's death, at the door while the job starts.
func (d *door) died(death place.Death) {
	m := d.hub.member(death.Rank)
	if m == nil {
		return
	}
	d.mu.Lock()
	absent := d.missing > 0 && (m.link == nil || m.incarnation < death.Incarnation)
	d.mu.Unlock()
	if absent && death.Final {
		err := fmt.Errorf("rank %d (%s) is lost before all had joined: %s", m.rank, d.comm.nodeName(m.rank), death.Reason)
		time.AfterFunc(patience, func() { d.give(err) }) // the launcher may end the job for it, and has said so
	}
	d.hub.died(m, death)
}

// died takes the news that an incarnation of a rank has died.
func (h *hub) died(m *member, death place.Death) {
	h.mu.Lock()
	if death.Incarnation < m.incarnation {
		h.mu.Unlock()
		return
	}
	dead := m.link
	if death.Incarnation == m.incarnation {
		m.death = &death
		m.lost.learn(m.death)
		m.tell()
	} else {
		dead = nil // it never came so far as to have one
	}
	if death.Final {
		h.abandon(m)
	}
	h.mu.Unlock()
	h.flush()
	if dead != nil { // of a node without power nothing else would come, for a long time
		time.AfterFunc(deadTime, func() { dead.conn.Close() })
	}
}

// ranOn returns what the ranks of a link run that has ended, for the user, whom pprun tells of their end. It is nil where
// that is no loss, and where nobody would be told.
func (h *hub) ranOn(l *link) (all []place.Ran) {
	if h.over || h.report == nil {
		return nil
	}
	for _, rank := range l.ranks {
		m := h.members[rank]
		if m.link != l {
			continue
		}
		ran := place.Ran{Rank: rank, Incarnation: m.incarnation}
		ts, begun := m.begun()
		for i, t := range ts {
			if begun[i] && len(ran.Tasks) < place.MaxRan {
				ran.Tasks = append(ran.Tasks, h.fns[t.fn()].name)
			}
		}
		if ran.Tasks != nil {
			all = append(all, ran)
		}
	}
	return all
}

// learn completes the error of a lost rank; either may be nil.
func (e *LostError) learn(death *place.Death) {
	if e != nil && death != nil && death.Reason != "" {
		e.Reason, e.Exit, e.Signal, e.OOM, e.Stderr = death.Reason, death.Exit, death.Signal, death.OOM, death.Stderr
	}
}

// brief is the error for those who may get many at once.
func (e LostError) brief() LostError {
	e.Stderr = nil
	return e
}

// onceKnown calls f, which needs the hub's mu, when it is known how a lost rank died, or will not be known.
func (h *hub) onceKnown(m *member, f func()) {
	if m == nil || m.death != nil || !h.informed {
		f()
		return
	}
	if m.waiting = append(m.waiting, f); len(m.waiting) > 1 {
		return
	}
	incarnation := m.incarnation
	time.AfterFunc(newsTime, func() {
		h.mu.Lock()
		if m.incarnation == incarnation && m.death == nil {
			m.death = new(place.Death) // nobody knows
		}
		m.tell()
		h.mu.Unlock()
		h.flush()
	})
}

// tell ends the waiting.
func (m *member) tell() {
	for _, f := range m.waiting {
		f()
	}
	m.waiting = nil
}
