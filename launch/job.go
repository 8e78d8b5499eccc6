package launch

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/comm/place"
	"github.com/pprun/pprun/launch/agent"
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
	building  string // what keeps the nodes waiting; empty: nothing is built
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
	canceled  <-chan struct{}  // the caller's context has ended
	killAt    <-chan time.Time // ranks that were sent a signal have had their time
	killGrace time.Duration    // what they get from then on
	moved     time.Time        // of the last progress before the ranks run
	begun     sync.WaitGroup   // goroutines of plan and launch

	sent        atomic.Int64 // compressed bytes on their way to nodes
	lastSent    int64
	starting    bool // start was sent: ranks may run
	attending   bool // all ranks run
	asking      int  // passphrases that a person is asked for
	running     int  // ranks that have not ended
	failedAt    time.Time
	interrupted int // orders to end that came from outside
	suspended   bool
	detours     []*node   // whose links go through us, and the user does not know
	detouredAt  time.Time // when the first of them said so
	verdict     *verdict
	doomed      chan struct{} // closed with verdict set

	lives     []life     // by rank
	processes []*Process // as they were started
	losses    losses
	standing  standing
	over      bool // rank 0, the hub, has ended: ranks that serve have nothing more to do
	status    int  // of the first failure that did not end the job

	respawns  []respawn        // to be ordered, soonest first
	respawnAt <-chan time.Time // the first is due
	leaveAt   <-chan time.Time // ranks that serve have had time to leave
}

// verdict is why a job ends before its time.
type verdict struct {
	status int
	text   string         // may be empty, may have several lines
	signal syscall.Signal // for the ranks; 0: TERM

	causes []cause // instead of status and text: what failed, of which one is the reason
	others int     // ranks that ran when the first of them came
}

// watchTick is how often the job looks after itself.
const watchTick = 250 * time.Millisecond

func newJob(ctx context.Context, c Config) *job {
	c.fill()
	id := make([]byte, 8)
	rand.Read(id)
	j := &job{
		Config: c, id: hex.EncodeToString(id), began: time.Now(), moved: time.Now(),
		events: make(chan event, 256), tick: time.NewTicker(watchTick), clock: frame.NewClock(c.HeartbeatTimeout),
		doomed: make(chan struct{}),
	}
	j.ctx, j.cancel = context.WithCancel(ctx)
	j.canceled = ctx.Done()
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

// outputBroke is told by sinks, in their goroutines. Somebody takes events until all sinks have ended.
func (j *job) outputBroke(name string, err error) {
	j.events <- event{what: unwritable{name, err}}
}

type unwritable struct {
	name string
	err  error
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

// condemn ends the job. The first verdict stands; whatever comes later is its consequence.
func (j *job) condemn(v *verdict) {
	if j.verdict != nil {
		return
	}
	j.verdict = v
	close(j.doomed)
	j.respawns, j.respawnAt = nil, nil
	if !j.starting {
		return
	}
	switch v.signal {
	case 0, syscall.SIGTERM:
		j.kill(j.Grace)
		return
	case syscall.SIGQUIT:
		j.killAt, j.killGrace = time.After(stackTime), j.Grace
	default:
		j.killAt, j.killGrace = time.After(j.Grace), 0
	}
	j.broadcast(agent.KindSignal, uint64(v.signal))
}

// stackTime is what ranks get to say what they do when their time is over: it ends where they do, which programs that
// do not link comm do at once.
const stackTime = 2 * time.Second

// timedOut ends a job whose time is over.
func (j *job) timedOut() {
	v := &verdict{status: StatusTimeout, text: fmt.Sprintf("timed out after %v: %s", j.Timeout, j.state())}
	if j.Stacks {
		v.signal = syscall.SIGQUIT
	}
	j.condemn(v)
}

// fail condemns the job for an error on the way to the start.
func (j *job) fail(err error) {
	status := StatusFailed
	if f, ok := err.(*failure); ok {
		status = f.status
	}
	j.condemn(&verdict{status: status, text: err.Error()})
}

// kill has every agent end its ranks: TERM, then KILL after the grace.
func (j *job) kill(grace time.Duration) {
	j.broadcast(agent.KindKill, uint64(grace.Milliseconds()))
}

func (j *job) broadcast(kind frame.Kind, id uint64) {
	for _, n := range j.nodes {
		if n.up && !n.gone {
			n.send(kind, id)
		}
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
		j.condemn(&verdict{status: StatusFailed, text: context.Cause(j.ctx).Error()})
	case <-limit:
		return false
	}
	return true
}

// take takes in what a node or a goroutine of ours has to say.
func (j *job) take(e event) {
	n := e.node
	switch v := e.what.(type) {
	case arrived:
		j.arrive(n, v)
	case prepared:
		if j.program = v.program; v.err != nil {
			j.fail(v.err)
		}
	case adapted:
		if j.program.add(v); v.err != nil {
			j.fail(v.err)
		}
	case agent.Ready:
		j.greet(n, v)
	case want:
		j.stream(n, v.id)
	case have:
		if s := j.copies(n)[v.id]; s != nil {
			s.leave(n.index)
		}
	case staged:
		n.staged++
		n.cached = n.cached || v.id == programID && v.Cached
	case agent.Listening:
		n.listening = &v
	case agent.Started:
		n.pids, n.socket = v.PIDs, v.Socket
		for i := range min(len(n.ranks), len(v.PIDs)) {
			j.born(n, n.ranks[i], v.PIDs[i])
		}
		if n.late != nil {
			j.come(n)
		}
	case credit:
		if slices.Contains(n.ranks, v.rank) && v.bytes >= 0 {
			j.stdin.credit(v)
		}
	case role:
		if v.rank < len(j.lives) && slices.Contains(n.ranks, v.rank) {
			j.lives[v.rank].role = v.role
			if j.over {
				j.hubEnded()
			}
		}
	case agent.Exit:
		j.exited(n, v)
	case place.Ran:
		j.ran(n, v)
	case agent.Respawned:
		j.respawned(n, v)
	case agent.Failure:
		j.failed(n, v)
	case unwritable:
		if brokenPipe(v.err) {
			j.condemn(&verdict{status: StatusSignal + int(syscall.SIGPIPE)})
		} else {
			j.condemn(&verdict{status: StatusFailed, text: writeFailure(v.name, v.err)})
		}
	case stopped:
		j.halt(n, v)
	case place.Missed:
		j.miss(n, v)
	case relayed:
		j.detour(n, v)
	case note:
		j.say("%s: %s", n.host.Host, string(v))
	case asking:
		j.meter.clear()
		j.asking++
		close(v.free)
	case answered:
		j.asking--
	case warning:
		j.warn("%s", string(v))
	case unreadable:
		switch {
		case v.err == errLeft:
		case n.late != nil:
			n.failed = v.err.Error()
		default:
			j.fail(v.err)
		}
	case equipped:
		j.supply(n, v)
	case *addition:
		j.addNodes(v)
	case *removal:
		j.removeNode(v)
	case deserted:
		j.condemn(&verdict{status: 1})
	case done:
		n.done = true
		if n.leaving {
			j.leave(n)
		}
	case lost:
		j.lose(n, v)
	case autopsy:
		j.losing(n, v.words)
	}
	if n != nil && n.late != nil && n.pids == nil {
		j.advance(n)
	}
}

// watch notices lack of progress before the start.
func (j *job) watch() {
	if !j.detouredAt.IsZero() && time.Since(j.detouredAt) > gather {
		j.sayDetours()
	}
	if sent := j.sent.Load(); sent != j.lastSent {
		j.moved, j.lastSent = time.Now(), sent
	}
	if buildingAgent() != "" || j.asking > 0 { // it needs no other machine, so it ends; people take their time
		j.moved = time.Now()
	}
	if !j.attending && j.verdict == nil && time.Since(j.moved) > j.StartTimeout {
		j.condemn(&verdict{status: StatusFailed, text: fmt.Sprintf("no progress for %v: %s", j.StartTimeout, j.state())})
	}
	j.meter.show(j)
}

// prepared is what prepare made.
type prepared struct {
	program *program
	err     error
}

// cpus of this machine that pprun may use: affinity and cgroup limits count.
func cpus() int { return runtime.GOMAXPROCS(0) }

// workDir is the caller's working directory, empty when it has none.
func workDir() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	return dir
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
