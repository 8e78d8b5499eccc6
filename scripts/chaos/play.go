package main

import (
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"github.com/pprun/pprun/scripts/lab/labtest"
)

const (
	limit    = 20 * time.Second // after the last that was done to it nothing may be left of a job
	behind   = 5 * time.Second  // nor after the end of pprun, if that is later: others may notice only then
	patience = 40 * time.Second // a job gets to come to a phase
	glance   = 3 * time.Millisecond
	slots    = 2 // of each host
)

// game is one round being played.
type game struct {
	Round
	config Config
	lab    *labtest.Lab
	before before
	cmd    *exec.Cmd
	stdin  io.Closer
	stdout text
	stderr text
	ended  chan struct{} // closed when pprun has ended
	end    time.Time     // of pprun; read after ended

	began    time.Time
	diary    text
	evidence text

	scene   scene    // as it was last seen
	victim  *process // nil: it was not to be found
	undo    func()   // what was done to it; nil: cannot be undone
	ordered bool     // pprun was sent TERM
	slain   bool     // pprun was stopped, and killed in the end
	last    time.Time
	out     *Outcome
}

// play plays a round.
func play(lab *labtest.Lab, c Config, r Round) Outcome {
	out := Outcome{Round: r}
	t := &trouble{}
	t.watch(func() {
		g := &game{Round: r, config: c, lab: lab.For(t), out: &out, began: time.Now(), ended: make(chan struct{})}
		defer g.restore()
		g.play()
	})
	out.Wrong = append(out.Wrong, t.errors...)
	return out
}

func (g *game) play() {
	if g.Cold {
		emptyCaches(g.lab)
	}
	g.before = remember(g.lab)
	g.begin()
	if g.await() {
		g.strike()
	}
	g.conclude()
	g.judge()
	g.clean(g.spared)
}

// wrong takes down what must not be.
func (g *game) wrong(format string, args ...any) {
	g.out.Wrong = append(g.out.Wrong, fmt.Sprintf(format, args...))
	g.note("wrong: "+format, args...)
}

// begin starts pprun.
func (g *game) begin() {
	var list []string
	for _, h := range hosts() {
		if h != "head" || g.Head {
			list = append(list, fmt.Sprintf("%s:%d", h, slots))
		}
	}
	g.scene.ranks = slots * len(list)
	flags, argv := g.Job.command()
	flags = append(flags, "--host", strings.Join(list, ","), "--grace", "1s")
	if g.config.Heartbeat > 0 {
		flags = append(flags, "--heartbeat-timeout", g.config.Heartbeat.String())
	}
	g.cmd = g.lab.Exec("head", "/shared/pprun", append(flags, argv...)...)
	g.cmd.Stdout, g.cmd.Stderr, g.cmd.WaitDelay = &g.stdout, &g.stderr, time.Second
	stdin, err := g.cmd.StdinPipe()
	if err == nil {
		err = g.cmd.Start()
	}
	if err != nil {
		g.wrong("start pprun: %v", err)
		close(g.ended)
		return
	}
	g.stdin = stdin
	go func() {
		g.cmd.Wait()
		g.end = time.Now()
		g.note("pprun has ended")
		close(g.ended)
	}()
}

// over says whether pprun has ended.
func (g *game) over() bool {
	select {
	case <-g.ended:
		return true
	default:
		return false
	}
}

func (g *game) endsWithin(d time.Duration) bool {
	select {
	case <-g.ended:
		return true
	case <-time.After(d):
		return false
	}
}
