package launch

import (
	"fmt"
	"time"

	"github.com/pprun/pprun/launch/agent"
)

// cause is a failure that ended the job, or came before the job was at its end: the loss of a rank or of a node.
type cause struct {
	at      time.Time
	status  int
	what    fmt.Stringer // a loss, or words; asked when all is known about it
	rank    int          // -1: a node
	severed bool         // its link to the hub was given up
	orphan  bool         // the rank had lost its hub, or its job a node: this came of something else
	stderr  []string     // last lines that the user has not seen
	root    *bool        // set if this is the root cause
}

// words are a failure that is told already.
type words string

func (w words) String() string { return string(w) }

// failedRank is the failure of a rank, of which e is the end.
func (j *job) failedRank(l loss, e agent.Exit) cause {
	if !l.severed {
		l.how += advice(e)
	}
	c := cause{
		at: *l.process.End, status: exitStatus(e), what: l, rank: l.rank, orphan: e.Orphan || j.suspects(l.host),
		stderr: l.stderr, root: &l.process.RootCause,
	}
	if l.severed {
		c.status, c.orphan, c.severed = StatusFailed, false, true
	}
	return c
}

// lostNode is the loss of a node.
func lostNode(n *node, how string) cause {
	return cause{at: time.Now(), status: StatusFailed, what: words(how), rank: -1, root: &n.guilty}
}
