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
	defer j.letGo()
	return j.conclude()
}

// endAloud is end for those who do not say themselves why the job failed.
func (j *job) endAloud() int {
	defer j.letGo()
	status, err := j.conclude()
	if err == nil {
		return status
	}
	words := newSink(screen(j.Stderr), func(int, int) {}, func(error) {})
	for line := range strings.SplitSeq(err.Error(), "\n") {
		words.say("pprun: " + line)
	}
	j.await(words.close(), j.flushLimit, ignore)
	return status
}

func (j *job) conclude() (int, error) {
	j.endRanks()
	j.sayDetours()
	j.dismiss()
	j.sayDropped()
	j.tellLosses()
	return j.outcome()
}

// letGo is the last that a job does. Agents here that have done their work have been ending meanwhile, so what signals do to
// this process from now on leaves nothing.
func (j *job) letGo() {
	j.signals.stop()
	for _, n := range j.nodes {
		if n.done && n.child != nil && j.interrupted < enough {
			<-n.child.ended
		}
	}
}

// endRanks waits for the ranks of a condemned job to be gone.
func (j *job) endRanks() {
	if j.verdict == nil {
		return
	}
	// Twice the grace for ranks that were signalled first and then killed; agents end them for good by then.
	limit := time.After(2*j.Grace + 5*time.Second)
	hint := time.Now().Add(2 * time.Second)
	for j.starting && j.running > 0 && j.interrupted < enough {
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
	j.stopAsking()
	j.await(endOf(j.stdin.close), j.patience, j.take)
	for _, n := range j.nodes {
		n.send(agent.KindBye, 0)
	}
	limit := time.After(j.Grace + 5*time.Second)
	for j.interrupted < enough && slices.ContainsFunc(j.nodes, func(n *node) bool { return n.up && !n.gone && !n.done }) {
		select {
		case e := <-j.events:
			j.take(e)
		case s := <-j.signals.c:
			j.obey(s.(syscall.Signal))
		case <-limit:
			j.interrupted = enough
		}
	}
	if j.interrupted == enough {
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

// sayDropped tells of results that are gone.
func (j *job) sayDropped() {
	var hosts []string
	files, such := 0, ""
	for _, n := range j.nodes {
		if n.dropped.Removed > 0 {
			hosts, files, such = append(hosts, n.host.Host), files+n.dropped.Removed, n.dropped.Such
		}
	}
	if files == 0 {
		return
	}
	were, as := "were", ", such as "
	if files == 1 {
		were, as = "was", ": "
	}
	stay := "write to a directory that stays"
	if !j.attached {
		stay += ", or name one with --wdir"
	}
	j.warn("%s: %s %s removed with the private directory that ranks ran in%s%s: %s", fold(hosts), count(files, "file"), were, as, such, stay)
}

// lastOrder is how long pprun stays, when it is told to leave, to have its last order and its last words on their way.
const lastOrder = 100 * time.Millisecond

// release waits for every goroutine of the job but the sinks', and removes what it made here. What it does not get to see
// the end of ends with this process.
func (j *job) release() {
	var all, late sync.WaitGroup
	for _, n := range j.nodes {
		if j.program != nil {
			j.program.leaveAll(n)
		}
		all.Go(n.close)
	}
	all.Go(j.begun.Wait)
	tooLate := func(e event) {
		switch v := e.what.(type) {
		case arrived:
			if v.conn != nil {
				late.Go(func() { v.conn.Close() })
			}
		case prepared:
			j.program = v.program
		case adapted:
			j.program.add(v)
		}
	}
	j.await(endOf(all.Wait), j.patience, tooLate)
	for len(j.events) > 0 {
		tooLate(<-j.events)
	}
	j.await(endOf(func() {
		late.Wait()
		if j.program != nil {
			j.program.close()
		}
	}), j.patience, ignore)
}

// patience is until when what is ours may take to end.
func (j *job) patience() <-chan time.Time {
	if j.interrupted == enough {
		return time.After(2 * commandPatience) // after which a command of --ssh is killed
	}
	return time.After(j.Grace + 5*time.Second)
}

// await waits for an end until a limit, which an order to end sooner sets anew. Events that come meanwhile are taken.
func (j *job) await(ended <-chan struct{}, limit func() <-chan time.Time, take func(event)) {
	for over := limit(); ; {
		select {
		case <-ended:
			return
		case <-over:
			return
		case e := <-j.events:
			take(e)
		case s := <-j.signals.c:
			before := j.interrupted
			if j.obey(s.(syscall.Signal)); j.interrupted > before {
				over = limit()
			}
		}
	}
}

// endOf runs f in a goroutine and returns what is closed when it has returned.
func endOf(f func()) <-chan struct{} {
	ended := make(chan struct{})
	go func() { f(); close(ended) }()
	return ended
}

func ignore(event) {}

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
	for _, s := range j.out.sinks() {
		j.await(s.close(), j.flushLimit, j.take) // a last write may fail
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
