package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/pprun/pprun/comm/place"
	"github.com/pprun/pprun/hostfile"
	"github.com/pprun/pprun/launch/agent"
)

// A node that comes while the job runs, because it is back or was added, goes by itself through what all nodes go through
// at the start: launch, stage, start. Each event of it is looked at for the next step, and what goes wrong with it is not
// the job's failure.

// late is what such a node has beside others.
type late struct {
	wait     time.Duration // before it is tried, or was
	told     string        // why it could not be used, as far as the user knows
	equipped bool          // it was told what is copied to it
	spools   map[uint64]*spool
	variant  *variant
	ordered  bool      // start was sent
	added    *addition // nil: it is back
}

// A node that is lost is tried again after firstTry, and after twice the time, up to lastTry, for each time in vain.
const (
	firstTry = 500 * time.Millisecond
	lastTry  = 30 * time.Second
)

// comesBack says whether a node that is lost may be used again.
func (j *job) comesBack(n *node) bool {
	for _, r := range n.ranks {
		if !j.replaceable(r) {
			return false
		}
	}
	leaving := n.index < len(j.nodes) && j.nodes[n.index].leaving
	return j.Rejoin && !n.local && !leaving && j.verdict == nil && !j.over && j.ctx.Err() == nil
}

// fetch has a node launched after a while. It takes the place of the one that is lost when it has come.
func (j *job) fetch(n *node) {
	n.running = map[int]bool{}
	l, host, launcher := n.late, n.host, j.launcherOf(n)
	j.begun.Go(func() {
		select {
		case <-time.After(l.wait):
		case <-j.ctx.Done():
			return
		}
		launchAll(j.ctx, []part{{launcher, []int{0}}}, []hostfile.Node{host}, func(_ int, conn io.ReadWriteCloser, err error) {
			j.events <- event{n, arrived{conn, err}}
		})
	})
}

// refetch tries again to have a node that is lost, or could not be used.
func (j *job) refetch(n *node) {
	l := &late{wait: firstTry}
	if n.late != nil && !n.late.ordered {
		l.wait, l.told = min(2*n.late.wait, lastTry), n.late.told
	}
	j.fetch(&node{index: n.index, host: n.host, server: n.server, ranks: n.ranks, trunk: n.trunk, late: l})
}

// arriveLate takes up the connection of a node that comes late.
func (j *job) arriveLate(n *node, a arrived) {
	switch {
	case a.err != nil:
		j.failLate(n, nodeError(n.host.Host, a.err))
		return
	case j.verdict != nil || j.over || j.ctx.Err() != nil || n.late.added == nil && j.nodes[n.index].leaving:
		j.begun.Go(func() { a.conn.Close() })
		j.failLate(n, "the job ends")
		return
	case n.late.added != nil:
		n.index = len(j.nodes)
		j.nodes = append(j.nodes, n)
		j.placement.Hosts = append(slices.Clone(j.placement.Hosts), n.host.Host)
	default:
		j.begun.Go(j.nodes[n.index].close)
		j.nodes[n.index] = n
	}
	j.streams.replace(n)
	j.hail(n, a.conn)
}

// advance takes a node that comes late one step further, if it has come to one.
func (j *job) advance(n *node) {
	l := n.late
	switch {
	case n.gone:
	case n.failed != "":
		j.failLate(n, n.failed)
	case l.added != nil && l.added.ctx.Err() != nil && !l.ordered:
		j.failLate(n, context.Cause(l.added.ctx).Error())
	case n.ready == nil:
	case !l.equipped:
		l.equipped = true
		if err := j.equip(n); err != nil {
			j.failLate(n, err.Error())
		}
	case n.program == nil || n.staged < len(l.spools) || l.ordered:
	default:
		j.enlist(n)
	}
}

// equipped is what a node that comes late gets.
type equipped struct {
	spools map[uint64]*spool
	err    error
}

// equip finds what is to be copied to a node, and measures it.
func (j *job) equip(n *node) error {
	v := &j.program.variant
	if p := n.platform(); j.program.others[p] != nil {
		v = j.program.others[p]
	} else if v.file != "" && !j.isAgent(n) && !v.header.fits(p) {
		return errors.New(j.misfit(p))
	}
	files := map[uint64]string{}
	if v.file != "" && !j.isAgent(n) {
		files[programID] = v.file
	}
	for i, file := range j.Stage {
		files[filesID+uint64(i)] = file
	}
	n.work.Go(func() {
		e := equipped{spools: map[uint64]*spool{}}
		for id, file := range files {
			s, err := newSpool(file, []int{n.index})
			if err != nil {
				e.err = err
				break
			}
			e.spools[id] = s
		}
		j.events <- event{n, e}
	})
	n.late.variant = v
	return nil
}

// supply tells a node what it gets.
func (j *job) supply(n *node, e equipped) {
	for _, s := range e.spools {
		j.program.late = append(j.program.late, s)
	}
	if e.err != nil {
		n.failed = e.err.Error()
		return
	}
	n.program, n.late.spools = n.late.variant, e.spools
	j.offerFiles(n)
}

// enlist starts the ranks of a node.
func (j *job) enlist(n *node) {
	if n.late.added != nil {
		j.populate(n)
	}
	n.late.ordered = true
	for _, r := range n.ranks {
		j.lives[r].incarnation++
		j.lives[r].restarts, j.lives[r].short = 0, 0
		n.running[r] = true
		j.running++
	}
	s, err := j.order(n, j.env)
	if err != nil {
		n.failed = err.Error()
		j.failLate(n, n.failed)
		return
	}
	n.sendValue(agent.KindStart, 0, s)
}

// failLate gives up a node before its ranks run.
func (j *job) failLate(n *node, why string) {
	for _, r := range n.alive() {
		delete(n.running, r)
		j.running--
	}
	n.gone = true
	j.begun.Go(n.close)
	if n.late.added != nil {
		for _, r := range n.ranks {
			j.announce(place.Death{Rank: r, Incarnation: j.lives[r].incarnation, Reason: why, Exit: -1, Final: true})
		}
		n.late.added.told <- fmt.Errorf("%s: %s", n.host.Host, why)
		return
	}
	if !j.comesBack(n) {
		return
	}
	if n.late.told != why {
		j.warn("%s: cannot be used again yet: %s", n.host.Host, why)
		n.late.told = why
	}
	n.late.ordered = false
	j.refetch(n)
}

// come tells that the ranks of a node run.
func (j *job) come(n *node) {
	if n.late.added != nil {
		n.late.added.told <- nil
		return
	}
	j.warn("%s is used again: %s", n.host.Host, rankNames(n.ranks))
}
