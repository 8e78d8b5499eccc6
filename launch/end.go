package launch

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pprun/pprun/launch/agent"
)

// end sees to it that nothing is left of the job, and returns its outcome.
func (j *job) end() (int, error) {
	j.endRanks()
	j.sayDetours()
	j.dismiss()
	j.tellLosses()
	return j.outcome()
}

// endRanks waits for the ranks of a condemned job to be gone.
func (j *job) endRanks() {
	if j.verdict == nil {
		return
	}
	// Twice the grace for ranks that were signalled first and then killed; agents end them for good by then.
	limit := time.After(2*j.Grace + 5*time.Second)
	hint := time.Now().Add(2 * time.Second)
	for j.starting && j.running > 0 && j.interrupted < 3 {
		if !j.step(limit) {
			break
		}
		if time.Now().After(hint) && j.meter.terminal && j.interrupted < 2 {
			hint = hint.Add(time.Hour)
			j.say("waiting up to %v for %s to end (Ctrl-C kills now)", j.Grace, count(j.running, "rank"))
		}
	}
}

// dismiss says bye to the agents and waits until they have cleaned up.
func (j *job) dismiss() {
	j.cancel()
	j.stdin.close()
	for _, n := range j.nodes {
		n.send(agent.KindBye, 0)
	}
	limit := time.After(j.Grace + 5*time.Second)
	for j.interrupted < 3 && slices.ContainsFunc(j.nodes, func(n *node) bool { return n.up && !n.gone && !n.done }) {
		select {
		case e := <-j.events:
			j.take(e)
		case s := <-j.signals.c:
			j.obey(s.(syscall.Signal))
		case <-limit:
			j.interrupted = 3
		}
	}
	if j.interrupted >= 3 {
		j.deliver(agent.KindKill, lastOrder) // at once: the grace need not pass where nobody waits for it
		j.sayUnsure()
	}
	j.release()
}

// sayUnsure names the hosts on which something of the job may be left.
func (j *job) sayUnsure() {
	var unsure []string
	for _, n := range j.nodes {
		if n.up && !n.gone && !n.done {
			unsure = append(unsure, n.host.Host)
		}
	}
	if unsure != nil {
		j.say("%s: did not confirm that nothing is left there: look for the job's processes", fold(unsure))
	}
}

// lastOrder is how long pprun stays, when it is told to leave, to have its last order and its last words on their way.
const lastOrder = 100 * time.Millisecond

// release waits for every goroutine of the job but the sinks', and removes what it made here. What it does not get to see
// the end of ends with this process.
func (j *job) release() {
	var all sync.WaitGroup
	for _, n := range j.nodes {
		if j.program != nil {
			j.program.leaveAll(n)
		}
		all.Go(n.close)
	}
	all.Go(j.begun.Wait)
	released := make(chan struct{})
	go func() { all.Wait(); close(released) }()
	limit := time.After(j.patience())
	for waiting := true; waiting; {
		select {
		case e := <-j.events:
			j.tooLate(e)
		case <-released:
			waiting = false
		case s := <-j.signals.c:
			if j.obey(s.(syscall.Signal)); j.interrupted == 3 {
				limit = time.After(j.patience())
			}
		case <-limit:
			waiting = false
		}
	}
	for len(j.events) > 0 {
		j.tooLate(<-j.events)
	}
	if j.program == nil {
		return
	}
	removed := make(chan struct{})
	go func() { j.program.close(); close(removed) }()
	select {
	case <-removed:
	case <-time.After(j.patience()):
	}
}

// patience is how long what is ours may take to end.
func (j *job) patience() time.Duration {
	if j.interrupted >= 3 {
		return 2 * commandPatience // after which a command of --ssh is killed
	}
	return j.Grace + 5*time.Second
}

// tooLate takes over what comes when the job ends.
func (j *job) tooLate(e event) {
	switch v := e.what.(type) {
	case arrived:
		if v.conn != nil {
			v.conn.Close()
		}
	case prepared:
		j.program = v.program
	case adapted:
		j.program.add(v)
	}
}

// flushLimit is until when a file may take what is still to be written to it.
func (j *job) flushLimit() <-chan time.Time {
	switch j.interrupted {
	case 0:
		return nil // a reader may take its time, as a pager does
	case 1:
		return time.After(j.Grace)
	}
	return time.After(lastOrder)
}

// outcome flushes the output, writes the report and returns how the job went.
func (j *job) outcome() (int, error) {
	j.tick.Stop()
	j.clock.Stop()
	j.meter.clear()
	defer j.signals.stop()
	for _, s := range j.out.sinks() {
		idle := s.close()
		limit := j.flushLimit()
		for waiting := true; waiting; {
			select {
			case <-idle:
				waiting = false
			case e := <-j.events: // a last write may fail
				j.take(e)
			case s := <-j.signals.c:
				j.obey(s.(syscall.Signal))
				limit = j.flushLimit()
			case <-limit:
				waiting = false
			}
		}
	}
	for len(j.events) > 0 {
		j.take(<-j.events)
	}
	j.out.close()
	status, text := j.status, ""
	if j.verdict != nil {
		status, text = j.verdict.judge()
	}
	if j.Report != "" {
		if err := j.writeReport(status, text); err != nil {
			status = cmp.Or(status, StatusFailed)
			text = strings.TrimPrefix(text+"\n"+fmt.Sprintf("--report %s: %v", j.Report, underlying(err)), "\n")
		}
	}
	if text == "" {
		return status, nil
	}
	return status, &failure{status, shown(j.Stderr, text)}
}
