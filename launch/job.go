package launch

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pprun/pprun/comm/frame"
)

// job is one run. All its fields belong to the goroutine that runs its phases, unless a remark says otherwise.
type job struct {
	Config
	ctx    context.Context
	cancel context.CancelFunc // ends what the phases have started
	id     string
	began  time.Time

	nodes     []*node
	launchers launchers
	env       []string // of the ranks
	placement Placement
	known     bool // the placement did not need the nodes' CPUs
	program   *program
	building  string // the program, for whom; empty: it is not being built
	authority *authority

	out       *output
	stdin     *input // nil: nothing is forwarded
	signals   *signals
	meter     meter
	streams   exchange
	events    chan event
	tick      *time.Ticker
	clock     *frame.Clock
	timeout   <-chan time.Time // Config.Timeout is over
	caller    context.Context  // the caller's own: it ends a moment before those that come of it
	canceled  <-chan struct{}  // it has ended
	killAt    <-chan time.Time // ranks that were sent a signal have had their time
	killGrace time.Duration    // what they get from then on
	moved     time.Time        // of the last progress before the ranks run
	awake     awake
	begun     sync.WaitGroup // goroutines of plan and launch

	sent        atomic.Int64 // compressed bytes on their way to nodes
	lastSent    int64
	starting    bool // start was sent: ranks may run
	attending   bool // all ranks run
	asking      int  // passphrases that a person is asked for
	running     int  // ranks that have not ended
	failedAt    time.Time
	interrupted int // orders to end that came from outside, up to enough
	suspended   bool
	detours     []*node   // whose links go through us, and the user does not know
	detouredAt  time.Time // when the first of them said so
	verdict     *verdict
	doomed      chan struct{} // closed with verdict set
	asks        context.Context
	stopAsking  context.CancelFunc // ends asks: nobody needs to know any more why nodes are lost

	lives     []life     // by rank
	processes []*Process // as they were started
	losses    losses
	standing  standing
	joined    bool // all ranks have joined the hub: rank 0 has said so
	over      bool // rank 0, the hub, has ended: ranks that serve have nothing more to do
	status    int  // of the first failure that did not end the job

	respawns  []respawn        // to be ordered, soonest first
	respawnAt <-chan time.Time // the first is due
	leaveAt   <-chan time.Time // ranks that serve have had time to leave
}

// watchTick is how often the job looks after itself.
const watchTick = 250 * time.Millisecond

func newJob(ctx context.Context, c Config) *job {
	c.fill()
	id := make([]byte, 8)
	rand.Read(id)
	j := &job{
		Config: c, id: hex.EncodeToString(id), began: time.Now(), moved: time.Now(), awake: awake{looked: time.Now()},
		events: make(chan event, 256), tick: time.NewTicker(watchTick), clock: frame.NewClock(c.HeartbeatTimeout),
		doomed: make(chan struct{}),
	}
	j.ctx, j.cancel = context.WithCancel(ctx)
	j.asks, j.stopAsking = context.WithCancel(context.Background())
	j.caller, j.canceled = ctx, ctx.Done()
	if c.Timeout > 0 {
		j.timeout = time.After(c.Timeout)
	}
	j.signals = catchSignals(c.attached)
	j.out = &output{label: c.Label}
	j.out.streams[0] = newSink(screen(c.Stdout), j.wrote, func(err error) { j.outputBroke("stdout", err) })
	j.out.streams[1] = newSink(screen(c.Stderr), j.wrote, func(err error) { j.outputBroke("stderr", err) })
	j.meter = newMeter(c)
	return j
}

// wrote is told by sinks what they are done with.
func (j *job) wrote(node, bytes int) {
	if bytes > 0 {
		j.nodes[node].repay(bytes)
	}
}

// say tells the user something, in a line on standard error.
func (j *job) say(format string, args ...any) {
	j.meter.clear()
	j.out.streams[1].say("pprun: " + fmt.Sprintf(format, args...))
}

// warn is say for what --quiet leaves out.
func (j *job) warn(format string, args ...any) {
	if !j.Quiet {
		j.say(format, args...)
	}
}

// until takes events until reached says so. It returns false once the job is condemned.
func (j *job) until(reached func() bool) bool {
	for j.verdict == nil && !reached() {
		j.step(nil)
	}
	return j.verdict == nil
}

// step waits for one event and takes it in. It returns false when limit fires instead.
func (j *job) step(limit <-chan time.Time) bool {
	select {
	case e := <-j.events:
		j.moved = time.Now()
		j.take(e)
	case s := <-j.signals.c:
		j.obey(s.(syscall.Signal))
	case <-j.tick.C:
		j.watch()
	case <-j.clock.C:
		j.listenForNodes()
	case <-j.timeout:
		j.timedOut()
	case <-j.killAt:
		j.kill(j.killGrace)
	case <-j.respawnAt:
		j.orderRespawns()
	case <-j.losses.at:
		j.tellLosses()
	case <-j.standing.at:
		j.tellStanding()
	case <-j.leaveAt:
		j.kill(j.Grace)
	case <-j.canceled:
		j.canceled = nil
		j.condemn(&verdict{status: StatusFailed, text: context.Cause(j.caller).Error()})
	case <-limit:
		return false
	}
	return true
}

// watch notices lack of progress before the start.
func (j *job) watch() {
	j.awake.look()
	if !j.detouredAt.IsZero() && time.Since(j.detouredAt) > gather {
		j.sayDetours()
	}
	if sent := j.sent.Load(); sent != j.lastSent {
		j.moved, j.lastSent = time.Now(), sent
	}
	if j.building != "" || buildingAgent() != "" || j.asking > 0 { // it needs no other machine, so it ends; people take their time
		j.moved = time.Now()
	}
	if !j.attending && j.verdict == nil && time.Since(j.moved) > j.StartTimeout {
		j.condemn(&verdict{status: StatusFailed, text: fmt.Sprintf("no progress for %v: %s", j.StartTimeout, j.state())})
	}
	j.meter.show(j)
}

// all waits until every node that counts has reached something. When a node fails, the others get a moment to fail too:
// one message names all.
func (j *job) all(reached func(*node) bool) bool {
	j.until(func() bool {
		if !j.failedAt.IsZero() && time.Since(j.failedAt) > time.Second {
			return true
		}
		for _, n := range j.nodes {
			if !n.done && n.failed == "" && !reached(n) && (j.placement.Size() == 0 || len(n.ranks) > 0) {
				return false
			}
		}
		return true
	})
	return j.settle()
}
