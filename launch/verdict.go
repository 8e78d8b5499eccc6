package launch

import (
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/launch/agent"
)

// verdict is why a job ends before its time.
type verdict struct {
	status int
	text   string         // may be empty, may have several lines
	signal syscall.Signal // for the ranks; 0: TERM

	causes []cause // instead of status and text: what failed, of which one is the reason
	others int     // ranks that ran when the first of them came
}

// condemn ends the job. The first verdict stands; whatever comes later is its consequence.
func (j *job) condemn(v *verdict) {
	if v.causes == nil {
		j.stopAsking()
	}
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

// also takes in what failed while the job was being ended for a failure.
func (v *verdict) also(c cause) {
	if len(v.causes) > 0 {
		v.causes = append(v.causes, c)
	}
}

// judge returns the status and the words of a verdict that all is known about. Of several failures the first is the
// reason; but ranks whose hub is gone fail for that, and their word may come sooner than that of the hub's end.
func (v *verdict) judge() (status int, text string) {
	if len(v.causes) == 0 {
		return v.status, v.text
	}
	root := slices.MinFunc(v.causes, func(a, b cause) int {
		switch {
		case a.orphan && !b.orphan:
			return 1
		case b.orphan && !a.orphan:
			return -1
		}
		return a.at.Compare(b.at)
	})
	*root.root = true
	text = root.what.String()
	if root.rank < 0 || v.others > 0 {
		text += ": job aborted"
	}
	if root.rank >= 0 && v.others > 0 {
		text += ", " + count(v.others, "other rank") + " ended"
	}
	var too []int
	for _, c := range v.causes {
		if c.rank >= 0 && c.rank != root.rank && !c.orphan && !(c.severed && root.severed) {
			too = append(too, c.rank)
		}
	}
	if too != nil {
		text += ", " + rankNames(too) + " failed as well"
	}
	return root.status, text + lastWords(root.stderr)
}
