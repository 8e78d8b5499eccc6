package agent

import "testing"

func TestLack(t *testing.T) {
	const files = "their agent needs 364 open files, its hard limit is 100: raise it (ulimit -Hn), or use more nodes"
	for _, c := range []struct {
		limits Limits
		want   string
	}{
		{Limits{}, ""},
		{Limits{Files: 364, Processes: 500, By: "pids.max"}, ""},
		{Limits{Files: 100}, files},
		{Limits{Files: 100, Processes: 1, By: "pids.max"}, files},
		{Limits{Processes: 499, By: "kernel.pid_max"}, "they need 500 processes and threads, kernel.pid_max leaves 499: raise it, or use more nodes"},
	} {
		if got := c.limits.Lack(Needs(100, Linked)); got != c.want {
			t.Errorf("%+v: %q, want %q", c.limits, got, c.want)
		}
	}
	if plain, linked := Needs(10, Plain), Needs(10, Linked); plain.Files >= linked.Files || plain.Processes >= linked.Processes {
		t.Errorf("plain ranks need %+v, those that link comm %+v", plain, linked)
	}
}

func TestOwnLimits(t *testing.T) {
	l := OwnLimits()
	if l.Files < 1 && l.Processes < 1 {
		t.Errorf("%+v: none is known", l)
	}
	if (l.Processes == 0) != (l.By == "") {
		t.Errorf("%+v", l)
	}
}
