package comm

import (
	"fmt"
	"os"
	"time"
)

// grace is how long a function may take to return after its context ended before it is named.
const grace = 5 * time.Second

// An overdue watches a function that has not returned though its context ended.
type overdue struct{ name, kill *time.Timer }

// watch begins to watch the function that the task runs.
func (t *running) watch(ended cause) *overdue {
	why := "it was canceled"
	if ended == timedOut {
		why = fmt.Sprintf("its Timeout of %v", t.options.Timeout)
	}
	o := &overdue{name: time.AfterFunc(grace, func() {
		complain("%s still runs %v after %s: it does not heed its context", t, grace, why)
	})}
	if d := t.options.KillAfter; d > 0 {
		o.kill = time.AfterFunc(d, func() {
			if t.comm.kill != nil {
				complain("%s still runs %v after %s: KillAfter ends this rank", t, d, why)
				t.comm.kill(t, ended, fmt.Errorf("it still ran %v after %s, and its rank was ended: %w", d, why, ended.err()))
			}
		})
	}
	return o
}

func (o *overdue) stop() {
	o.name.Stop()
	if o.kill != nil {
		o.kill.Stop()
	}
}

// String names the task for a person.
func (t *running) String() string {
	c := t.comm
	s := fmt.Sprintf("rank %d (%s): task %s of rank %d", c.rank, c.nodeName(c.rank), c.fns[t.fn].name, t.src)
	if t.life.attempt > 0 {
		s += fmt.Sprintf(", attempt %d,", t.life.attempt)
	}
	return s
}

// killSelf ends the process of a rank that only serves. A task that was over its time has failed with err; what else runs
// here is run again elsewhere, a chunk as a whole.
func (c *Comm) killSelf(t *running, ended cause, err error) {
	if ended == timedOut && t.flags&flagChunk == 0 {
		t.end()
		t.send(flagLast, appendError(make([]byte, resultHeadLen), err, nil), failure(err), 0)
	}
	if l, ok := c.up.(*link); ok {
		l.close()
	}
	os.Exit(1)
}
