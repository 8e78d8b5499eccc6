package launch

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/launch/agent"
	"golang.org/x/sys/unix"
)

// signals are those that this process gets while the job runs.
type signals struct {
	c      chan os.Signal // what obey takes
	pipe   chan os.Signal // SIGPIPE, which nobody takes
	caught chan struct{}  // closed when they are
}

// catchSignals begins to catch what pprun passes on or acts upon. Signals that were ignored when it began, as nohup and
// shells do for jobs in the background, stay ignored. It does so in a goroutine of its own: the first agent can start
// meanwhile, as there is nothing yet that this process would leave behind. What ends a process that is rank 0 ends the
// others with it: then those signals are the program's own.
func catchSignals(attached bool) *signals {
	s := &signals{make(chan os.Signal, 64), make(chan os.Signal, 1), make(chan struct{})}
	go s.catch(attached)
	return s
}

func (s *signals) catch(attached bool) {
	defer close(s.caught)
	all := []os.Signal{syscall.SIGQUIT, syscall.SIGTSTP, syscall.SIGCONT}
	if !attached {
		all = append(all, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	}
	for _, sig := range all {
		if !signal.Ignored(sig) {
			signal.Notify(s.c, sig)
		}
	}
	if attached {
		return
	}
	// Without a catcher a reader's leaving would end this process before the ranks; EPIPE says so as well.
	signal.Notify(s.pipe, syscall.SIGPIPE)
}

func (s *signals) stop() {
	<-s.caught
	signal.Stop(s.c)
	signal.Stop(s.pipe)
}

// obey does what a signal means for the job.
func (j *job) obey(s syscall.Signal) {
	switch s {
	case syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP:
		j.interrupt(s)
	case syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2:
		switch {
		case j.starting:
			j.broadcast(agent.KindSignal, uint64(s))
		case s == syscall.SIGQUIT: // as it does to ranks that link comm
			j.say("%s", j.state())
		}
	case syscall.SIGTSTP:
		j.suspend()
	case syscall.SIGCONT:
		j.resume()
	}
}

// enough orders to end have pprun leave.
const enough = 3

// interrupt ends the job on somebody's order: at the first in order, at the second at once, at the third without waiting
// for word that the ranks are gone.
func (j *job) interrupt(s syscall.Signal) {
	j.interrupted = min(j.interrupted+1, enough)
	if j.interrupted > 1 {
		j.kill(0)
	}
	j.condemn(&verdict{status: StatusSignal + int(s), text: "ended by " + signalName(s) + j.endedRanks(), signal: s})
}

func (j *job) endedRanks() string {
	if !j.starting {
		return ""
	}
	return fmt.Sprintf(": %s ended", count(j.running, "rank"))
}

// suspend stops the ranks, then this process, as Ctrl-Z asks.
func (j *job) suspend() {
	j.suspended = true
	j.meter.clear()
	j.deliver(agent.KindSuspend, time.Second) // an agent out of reach must not keep the terminal
	unix.Kill(os.Getpid(), unix.SIGSTOP)
}

// deliver sends a frame to every agent, and waits until it is on its way, but not for long.
func (j *job) deliver(kind frame.Kind, long time.Duration) {
	limit := time.After(long)
	for _, n := range j.nodes {
		if !n.up || n.gone {
			continue
		}
		sent := make(chan struct{})
		n.post(message{Header: frame.Header{Kind: kind}, sent: sent})
		select {
		case <-sent:
		case <-limit:
			limit = closedLimit
		}
	}
}

// closedLimit is one that is over.
var closedLimit = func() <-chan time.Time { c := make(chan time.Time); close(c); return c }()

// resume goes on after a stop, ours or somebody else's.
func (j *job) resume() {
	if j.suspended {
		j.awake = awake{looked: time.Now()} // agents were told
	}
	j.suspended = false
	for _, n := range j.nodes {
		if n.up {
			n.conn.Silence().Break()
		}
	}
	j.moved = time.Now()
	j.broadcast(agent.KindResume, 0)
}
