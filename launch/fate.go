package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"syscall"
	"time"

	"github.com/pprun/pprun/comm/place"
	"github.com/pprun/pprun/launch/agent"
)

// Nodes are lost when nothing is heard of their agents, or the connection to them ends. Silence looks alike whatever the
// reason; what else is known of the node by then tells some of them apart.

// remote is a connection that can tell more of its other end than whether the agent speaks.
type remote interface {
	Quiet() time.Duration                       // nothing at all has come of the host for so long
	Segments() (n uint32, ok bool)              // packets of the host, repeated ones too; ok: they are counted
	Peer() net.Addr                             // its address; nil: not known
	Broken() bool                               // the connection itself has ended, not only the agent
	BootID(ctx context.Context) (string, error) // asks the host anew
}

// lost is the end of the connection to an agent.
type lost struct{ err error }

// plain says that a connection ended without a word why.
func (l lost) plain() bool {
	return l.err == io.EOF || errors.Is(l.err, io.ErrUnexpectedEOF) || errors.Is(l.err, net.ErrClosed)
}

// words says why a connection ended.
func (l lost) words() string {
	if l.plain() {
		return "its agent is gone"
	}
	return l.err.Error()
}

// listenForNodes notices silence.
func (j *job) listenForNodes() {
	j.clock.Tick()
	for _, n := range j.nodes {
		if !n.up || n.gone || n.silent || j.suspended {
			continue
		}
		silence := n.conn.Silence()
		if j.clock.Dead(silence) {
			n.silent, n.repeats = true, n.hasRepeated()
			if n.child != nil {
				n.child.mute.Store(true)
			}
			n.work.Go(func() { n.conn.Close() }) // its reader then reports the loss
			continue
		}
		if 3*j.clock.Long(silence) < j.HeartbeatTimeout && n.remote != nil {
			n.segments, _ = n.remote.Segments()
		}
		long := 3*j.clock.Long(silence) > 2*j.HeartbeatTimeout
		if long && !n.probed && n.remote != nil && n.remote.Peer() != nil {
			n.work.Go(func() { n.try(j.ctx, n.remote.Peer(), j.HeartbeatTimeout/3) })
		}
		n.probed = long
	}
}

// hasRepeated says whether packets have come from a host of which nothing new is heard: it does not hear us.
func (n *node) hasRepeated() bool {
	if n.remote == nil {
		return false
	}
	now, ok := n.remote.Segments()
	return ok && now != n.segments
}

// takes says whether a host takes a new connection now.
func (n *node) takes(ctx context.Context) bool {
	addr := n.remote.Peer()
	if addr == nil {
		return false
	}
	n.try(ctx, addr, autopsyTime/3)
	return n.probe.Load() == ""
}

// try tries a new connection.
func (n *node) try(ctx context.Context, addr net.Addr, limit time.Duration) {
	n.probe.Store("timed out")
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, addr.Network(), addr.String())
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		n.probe.Store(errno.Error())
	}
	if err == nil {
		n.probe.Store("")
		conn.Close()
	}
}

// lose notes the end of a node's connection.
func (j *job) lose(n *node, l lost) {
	if n.gone { // we have closed it
		return
	}
	n.gone = true
	if n.child != nil && !n.done {
		n.work.Go(func() {
			n.conn.Close() // it returns when the agent has ended
			agent.LeftBehind(j.id, n.index)
		})
	}
	j.streams.lose(n)
	if j.program != nil {
		j.program.leaveAll(n)
	}
	idle := j.placement.Size() > 0 && len(n.ranks) == 0 && n.late == nil
	switch {
	case n.leaving:
		j.leave(n)
		return
	case n.done || n.failed != "" || idle:
		return
	}
	why, runs := l.words(), n.remote != nil && n.remote.Broken()
	j.awake.look()
	if slept := j.awake.why(j.HeartbeatTimeout); slept != "" && !n.silent && !j.suspended {
		why, runs = slept, false
	} else if n.silent {
		why, runs = j.silence(n)
	} else if runs && l.plain() {
		why = "its ssh connection has ended"
	}
	if runs && j.starting && n.ready != nil && n.ready.BootID != "" && j.verdict == nil {
		j.begun.Go(func() { j.events <- event{n, autopsy{n.autopsy(j.asks, why, j.HeartbeatTimeout)}} })
		return
	}
	j.losing(n, why)
}

// losing says why a node is lost, and does what comes of it.
func (j *job) losing(n *node, why string) {
	if n.late != nil && n.pids == nil {
		j.failLate(n, why)
		return
	}
	if !j.starting {
		n.failed, n.status = why, StatusFailed
		j.noteFailure()
		return
	}
	j.loseRanks(n, fmt.Sprintf("lost %s: %s", n.host.Host, why))
}

// silence says what is known of a node that has fallen silent, and whether it may run all the same.
func (j *job) silence(n *node) (words string, runs bool) {
	t := j.HeartbeatTimeout
	nothing := fmt.Sprintf("nothing was heard of it for %v", t)
	probe, probed := n.probe.Load().(string)
	switch {
	case n.remote == nil:
		return fmt.Sprintf("its agent is silent for %v", t), false
	case 3*n.remote.Quiet() < 2*t: // asked each third of t, it answers; of one cut off the last byte may be later than the agent's
		return fmt.Sprintf("its agent is silent for %v, though sshd there answers: it is stopped or hangs", t), false
	case j.hears(n):
		return fmt.Sprintf("nothing comes through ssh for %v, though rank 0 hears the ranks there: is port %s blocked?", t, port(n.remote.Peer())), false
	case n.repeats:
		return fmt.Sprintf("it sends, but has not heard this machine for %v: the network carries one direction only", t), false
	case probed && (probe == "" || probe == syscall.ECONNREFUSED.Error()):
		return nothing, true
	case probed:
		return fmt.Sprintf("%s, nor does it take a new connection (%s): it has no power or no network", nothing, probe), false
	}
	return nothing + ": it has no power or no network", false
}

func port(a net.Addr) string {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return fmt.Sprint(tcp.Port)
	}
	return "22"
}

// suspects says whether another node than that of a rank that failed is about to be lost: then the rank may have failed
// for that, though its word comes sooner.
func (j *job) suspects(host string) bool {
	return slices.ContainsFunc(j.nodes, func(n *node) bool {
		if n.host.Host == host || len(n.running) == 0 || n.fate != "" {
			return false
		}
		return n.gone || n.up && 2*j.clock.Long(n.conn.Silence()) > j.HeartbeatTimeout
	})
}

// hears says whether rank 0, elsewhere, hears a rank of a node.
func (j *job) hears(n *node) bool {
	if j.placement.Size() == 0 { // a node may fall silent before anybody knows who will run where
		return false
	}
	hub := j.nodes[j.placement.NodeOf[0]]
	return hub != n && !hub.gone && !hub.silent && slices.ContainsFunc(n.alive(), func(r int) bool {
		return j.lives[r].role != place.Plain && j.lives[r].heard == place.Heard
	})
}

// autopsy is what was found out about a node whose connection has broken.
type autopsy struct{ words string }

// autopsyTime is how long the job waits for that. A host that takes connections, and so runs, has the time that it may be
// silent for: one with much to do takes long to let anybody in.
const autopsyTime = 1500 * time.Millisecond

// autopsy asks the host, which seems to run, whether it still is what it was. One that has just come up may need some
// asking.
func (n *node) autopsy(ctx context.Context, why string, patience time.Duration) string {
	ctx, cancel := context.WithTimeout(ctx, max(patience, autopsyTime))
	defer cancel()
	go func() {
		defer cancel()
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(autopsyTime):
			}
			if !n.takes(ctx) {
				return
			}
		}
	}()
	boot := ""
	for ctx.Err() == nil && boot == "" {
		if boot, _ = n.remote.BootID(ctx); boot == "" {
			time.Sleep(100 * time.Millisecond)
		}
	}
	switch boot {
	case "":
		return why
	case n.ready.BootID:
		return why + ", though it runs: was the ssh session killed, the network cut, or the machine suspended?"
	}
	return why + ": it was restarted"
}

// loseRanks takes in the loss of a node.
func (j *job) loseRanks(n *node, how string) {
	ranks := n.alive()
	for _, r := range j.respawns {
		if r.node == n {
			ranks = append(ranks, r.rank)
		}
	}
	slices.Sort(ranks)
	j.respawns = slices.DeleteFunc(j.respawns, func(r respawn) bool { return r.node == n })
	j.running -= len(n.running)
	clear(n.running)
	n.fate = how
	for _, r := range ranks {
		if p := j.lives[r].process; p != nil && p.End == nil {
			p.Lost = how
		}
	}
	ran := how
	if len(ranks) > 0 {
		ran += ": " + rankNames(ranks) + " ran there"
	}
	if j.verdict != nil {
		j.verdict.also(lostNode(n, ran))
		return
	}
	again := j.comesBack(n)
	for _, r := range ranks {
		j.announce(place.Death{Rank: r, Incarnation: j.lives[r].incarnation, Reason: how, Exit: -1, Final: !again})
	}
	replaceable := !slices.ContainsFunc(n.ranks, func(r int) bool { return !j.replaceable(r) })
	switch {
	case replaceable && !j.joined && !again && !j.over: // rank 0 waits for them in vain, whatever OnFail says
		j.condemn(&verdict{causes: []cause{lostNode(n, ran)}})
	case replaceable:
		j.noteIfWaiting(StatusFailed, &n.guilty)
		then := ""
		if again {
			then = ", it is used again when it is back"
			j.refetch(n)
		}
		j.say("%s: their %s%s", ran, redone, then)
	case (j.OnFail == OnFailWait || j.OnFail == OnFailContinue) && j.running > 0:
		j.note(StatusFailed, &n.guilty)
		j.say("%s: %s", ran, othersGoOn)
	default:
		j.condemn(&verdict{causes: []cause{lostNode(n, ran)}})
	}
	if n.pids == nil {
		n.pids = []int{} // nobody waits any more for it to start its ranks
	}
	if slices.Contains(ranks, 0) {
		j.hubEnded()
	}
}
