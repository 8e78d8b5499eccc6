package agent

import (
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"syscall"

	"github.com/pprun/pprun/comm/frame"
)

// plan is what all ranks of the node are started with.
type plan struct {
	start   *Start
	path    string
	argv    []string
	dir     string
	env     []string // common to all
	file    *os.File // the program where it is not staged; nil: it cannot be read
	null    *os.File // /dev/null
	inherit int      // Config.Stdin
	socket  string   // PPRUN_AGENT
	hello   *Hello
}

// start makes the ranks known, so that input for them may follow at once, and starts them beside the reading of frames.
func (a *agent) start(payload []byte) error {
	s, err := a.announce(payload)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	held := a.held
	a.work.Go(func() {
		defer close(a.started)
		pids, err := a.launch(&s, held)
		if err != nil {
			a.fail(failure("start", err))
			return
		}
		a.enterStart(s.Program, len(pids))
		a.send(frame.Header{Kind: KindStarted}, Started{pids, a.planned.socket})
	})
	return nil
}

// announce makes the ranks known.
func (a *agent) announce(payload []byte) (Start, error) {
	s, err := Decode[Start](payload)
	if err != nil {
		return s, err
	}
	if a.ranks != nil {
		return s, fmt.Errorf("a second one")
	}
	if err := s.check(a.hello.Node); err != nil {
		return s, err
	}
	ranks := map[int]*rank{}
	for _, r := range s.Ranks {
		if ranks[r.Rank] != nil {
			return s, fmt.Errorf("rank %d twice", r.Rank)
		}
		ranks[r.Rank] = newRank(r, a)
	}
	a.mu.Lock()
	a.ranks = ranks
	a.mu.Unlock()
	if s.Held {
		a.held = make(chan struct{})
	}
	a.relays.Begin(uint32(a.hello.Node), s.Size)
	return s, nil
}

// check holds a start against what the agent will index by it.
func (s *Start) check(node int) error {
	if s.Size < 1 || len(s.NodeOf) != s.Size || len(s.Slots) != s.Size || node >= len(s.Nodes) {
		return fmt.Errorf("size %d, %d nodes of ranks, %d slots, node %d of %d", s.Size, len(s.NodeOf), len(s.Slots), node, len(s.Nodes))
	}
	for _, n := range s.NodeOf {
		if n < 0 || n >= len(s.Nodes) {
			return fmt.Errorf("a rank on node %d of %d", n, len(s.Nodes))
		}
	}
	for _, r := range s.Ranks {
		if r.Rank < 0 || r.Rank >= s.Size || s.NodeOf[r.Rank] != node {
			return fmt.Errorf("rank %d of %d is not on node %d", r.Rank, s.Size, node)
		}
	}
	return nil
}

// release starts the ranks that are held.
func (a *agent) release() error {
	if a.held == nil {
		return fmt.Errorf("go: no ranks are held")
	}
	close(a.held)
	a.held = nil
	return nil
}

// hold says that the ranks can start, and waits until they may. It returns false when the job ends instead.
func (a *agent) hold(held <-chan struct{}) bool {
	a.send(frame.Header{Kind: KindAble}, nil)
	select {
	case <-held:
		return true
	case <-a.ender.first:
	case <-a.life.Done():
	}
	return false
}

// launch starts the ranks, those that are held at go, and returns their pids in the order of s.Ranks.
func (a *agent) launch(s *Start, held <-chan struct{}) ([]int, error) {
	if err := a.checkRanks(s); err != nil {
		return nil, err
	}
	p, err := a.plan(s)
	if err != nil {
		return nil, err
	}
	if held != nil && !a.hold(held) {
		return nil, a.endedBefore()
	}
	a.planned = p
	if a.cfg.Stdin != nil {
		p.inherit = int(a.cfg.Stdin.Fd())
	}
	if s.Direct {
		a.outlet.Store(openOutlet(a.cfg.Stdout, func(e syscall.Errno) {
			a.conn.Send(frame.Header{Kind: KindUnwritable, ID: uint64(e)}, nil)
		}))
		if a.life.Err() != nil { // lost may have come too soon to see it
			a.outlet.Load().close()
		}
	}
	a.oom = countOOM()
	if a.cfg.Reached == "" { // a ppserver has groups of its own
		a.group = newGroup(a.hello.Job, a.hello.Node)
		a.guard.holds(a.group)
	}
	if err := a.startAll(p); err != nil {
		return nil, err
	}
	pids, started := make([]int, len(s.Ranks)), make([]int, 0, len(s.Ranks))
	for i, r := range s.Ranks {
		if pids[i] = r.PID; r.PID == 0 {
			pids[i] = int(a.rank(r.Rank).pid.Load())
			started = append(started, pids[i])
		}
	}
	a.guard.watch(started)
	return pids, nil
}

// startAll starts rank after rank on the spawners' threads; the first failure and the order to end stop it.
func (a *agent) startAll(p *plan) error {
	defer a.reaper.starting()()
	var ranks []*rank
	for _, r := range p.start.Ranks {
		if r.PID == 0 {
			ranks = append(ranks, a.rank(r.Rank))
		}
	}
	errs := make([]error, len(ranks))
	var next, started, failed atomic.Int64
	threads := min(spawnThreads, len(ranks))
	done := make(chan struct{}, threads)
	for range threads {
		onSpawner(func() {
			defer func() { done <- struct{}{} }()
			for {
				i := int(next.Add(1)) - 1
				if i >= len(ranks) || failed.Load() > 0 || a.ender.begun() {
					return
				}
				if errs[i] = a.run(ranks[i], p); errs[i] != nil {
					failed.Add(1)
				} else {
					started.Add(1)
				}
			}
		})
	}
	for range threads {
		<-done
	}
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return a.explain(p, ranks[i], errs[i])
	}
	if int(started.Load()) < len(ranks) {
		return a.endedBefore()
	}
	return nil
}

func (a *agent) endedBefore() *Failure {
	return &Failure{Phase: "start", Rank: -1, Code: 125, Text: "the job ended before all ranks had started on " + a.host}
}

// Error is the failure's text, so that a Failure is an error.
func (f *Failure) Error() string { return f.Text }

// failure makes a Failure of any error.
func failure(phase string, err error) *Failure {
	if f, ok := err.(*Failure); ok {
		return f
	}
	return &Failure{Phase: phase, Rank: -1, Text: err.Error(), Code: 125}
}
