package launch

import (
	"fmt"
	"slices"
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

type words string

func (w words) String() string { return string(w) }

func (j *job) failedRank(l loss, e agent.Exit) cause {
	if !l.severed {
		l.how += advice(e)
	}
	c := cause{
		at: *l.process.End, status: exitStatus(e), what: l, rank: l.rank, orphan: e.Orphan || j.suspects(l.host), stderr: l.stderr, root: &l.process.RootCause,
	}
	if l.severed {
		c.status, c.orphan, c.severed = StatusFailed, false, true
	}
	return c
}

func lostNode(n *node, how string) cause {
	return cause{at: time.Now(), status: StatusFailed, what: words(how), rank: -1, root: &n.guilty}
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
