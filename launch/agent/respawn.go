package agent

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/comm/place"
)

// respawn starts a rank again whose process has ended, as exit has told the launcher.
func (a *agent) respawn(n int, incarnation uint32) error {
	old := a.rank(n)
	if old == nil || old.alive() || incarnation <= old.incarnation {
		return fmt.Errorf("respawn: incarnation %d of rank %d", incarnation, n)
	}
	a.work.Go(func() {
		answer := Respawned{Rank: n}
		r, err := a.startAgain(old, incarnation)
		if err != nil {
			answer.Failure = err.Error()
		} else {
			answer.PID = int(r.pid.Load())
			a.enterStart(a.planned.start.Program, 1)
		}
		a.send(frame.Header{Kind: KindRespawned}, answer)
		if err == nil {
			close(r.told)
		}
	})
	return nil
}

// startAgain starts the successor of a process, with all that it had but standard input. What is left of the old one
// goes first, before the seat is free.
func (a *agent) startAgain(old *rank, incarnation uint32) (*rank, error) {
	<-a.started
	p := a.planned
	if p == nil {
		return nil, fmt.Errorf("no rank was started on %s", a.host)
	}
	a.clear(old)
	again := *p
	var err error
	if again.path, err = a.sameProgram(p); err != nil {
		return nil, err
	}
	old.seat.close()
	next := old.Rank
	next.Stdin = StdinNone
	r := newRank(next, a)
	r.incarnation, r.told = incarnation, make(chan struct{})
	a.mu.Lock()
	a.ranks[r.Rank.Rank] = r
	a.mu.Unlock()
	defer a.reaper.starting()()
	done := make(chan struct{})
	onSpawner(func() {
		defer close(done)
		if a.ender.begun() || a.life.Err() != nil {
			err = fmt.Errorf("the job ends")
			return
		}
		err = a.run(r, &again)
	})
	<-done
	if err != nil {
		return nil, a.explain(&again, r, err)
	}
	a.guard.watch([]int{int(r.pid.Load())})
	return r, nil
}

// sameProgram is the path of the very program that the first ranks were started from, whatever lies at its place now.
func (a *agent) sameProgram(p *plan) (string, error) {
	if stage := p.start.Program.Stage; stage != 0 {
		return a.staged(stage)
	}
	if p.file == nil {
		return p.path, nil
	}
	ours, err := p.file.Stat()
	if err != nil {
		return "", err
	}
	if there, err := os.Stat(p.file.Name()); err == nil && os.SameFile(ours, there) {
		return p.path, nil
	}
	return descriptorPath(p.file), nil
}

// serves says whether the process only serves tasks, as far as is known.
func (r *rank) serves() bool { return r.incarnation > 0 || r.seat.serves() }

// clear kills what a process that has ended left behind: it must not work on beside its successor.
func (a *agent) clear(r *rank) {
	marks := [][]byte{
		[]byte(place.EnvJob + "=" + a.hello.Job),
		[]byte(place.EnvRank + "=" + strconv.Itoa(r.Rank.Rank)),
	}
	for end := time.Now().Add(giveUp); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if !sweep(map[int]bool{int(r.pid.Load()): true}, marks) {
			return
		}
	}
}
