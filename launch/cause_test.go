package launch

import (
	"testing"
	"time"

	"github.com/pprun/pprun/launch/agent"
)

func TestEnding(t *testing.T) {
	for want, e := range map[string]agent.Exit{
		"exit status 3": {Code: 3},
		"exit status 0 before it had left the job":                                {Joined: true},
		"killed by signal 11 (SIGSEGV, core dumped)":                              {Signal: 11, Core: true},
		"killed by signal 9 (SIGKILL, out of memory: it had 63.0 MB)":             {Signal: 9, OOM: true, MaxRSS: 63e6},
		"killed by signal 9 (SIGKILL, out of memory: it had 99.0 MB of 104.9 MB)": {Signal: 9, OOM: true, MaxRSS: 99e6, OOMLimit: 100 << 20},
	} {
		if got := ending(e); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// Whatever the order in which failures are heard of, the earliest is the cause, unless it came of a lost hub.
func TestRootCause(t *testing.T) {
	at := time.Now()
	failed := func(rank, after int, orphan bool) cause {
		return cause{at: at.Add(time.Duration(after)), status: 10 + rank, what: words("rank"), rank: rank, orphan: orphan, root: new(bool)}
	}
	lost := failed(-1, 5, false)
	lost.what = words("lost node2")
	for _, c := range []struct {
		causes []cause
		others int
		root   int // index
		text   string
	}{
		{[]cause{failed(3, 0, false)}, 0, 0, "rank"},
		{[]cause{failed(3, 2, false), failed(1, 1, false), failed(2, 3, false)}, 7, 1, "rank: job aborted, 7 other ranks ended, ranks 2-3 failed as well"},
		{[]cause{failed(1, 1, true), failed(0, 2, false), failed(2, 3, true)}, 2, 1, "rank: job aborted, 2 other ranks ended"},
		{[]cause{failed(1, 1, true), failed(2, 0, true)}, 1, 1, "rank: job aborted, 1 other rank ended"},
		{[]cause{failed(1, 1, true), lost}, 3, 1, "lost node2: job aborted"},
	} {
		v := verdict{causes: c.causes, others: c.others}
		status, text := v.judge()
		if status != c.causes[c.root].status || text != c.text || !*c.causes[c.root].root {
			t.Errorf("status %d, %q, want that of %+v and %q", status, text, c.causes[c.root], c.text)
		}
	}
}
