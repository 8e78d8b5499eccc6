package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pprun/pprun/scripts/lab/labtest"
)

// oldBugs are what MPI's launchers left behind, or hung over, as their issue trackers have it. Each test ends with every
// host, the launcher's too, as it was: no rank, no child of one, no agent, no guard, no session of sshd.
func oldBugs(t *testing.T, l lab) {
	if l.Mode() == labtest.Loopback {
		t.Skip("hosts share their processes")
	}
	const wrapper = `sleep %s & wait`
	for i, c := range []struct {
		name   string
		flags  string
		script string // of each rank; %s is how its processes are known
		do     func(l lab, mark string)
		status int
		stderr string
	}{
		{"ompi 592: a node loses its power and mpirun hangs", "--heartbeat-timeout 2s", wrapper,
			func(l lab, _ string) { l.Host("node4").Crash() },
			125, `^pprun: lost node4: .*: ranks 6-7 ran there: job aborted\n$`},
		{"ompi 1418: kill -9 of a daemon leaves its ranks", "", wrapper,
			func(l lab, _ string) {
				l.killOn("node3", func(p labtest.Process) bool { return len(p.Args) > 1 && p.Args[1] == "agent" })
			},
			125, `^pprun: lost node3: its agent is gone.*: ranks 4-5 ran there: job aborted\n$`},
		{"ompi 3337: a wrapper is killed and its child lives", "", wrapper,
			func(l lab, mark string) {
				l.killOn("node2", func(p labtest.Process) bool { return p.Command() == "sh" && strings.Contains(p.String(), mark) })
			},
			137, `^pprun: rank [23] on node2 \(pid \d+, after \S+\): killed by signal 9 \(SIGKILL\): job aborted, 7 other ranks ended\n$`},
		{"ompi 7790: daemons outlive a job that failed", "", `sleep %s & [ $PPRUN_RANK = 5 ] && exit 3; wait`, nil,
			3, `^pprun: rank 5 on node3 \(pid \d+, after \S+\): exit status 3: job aborted, 7 other ranks ended\n$`},
		{"ompi 9369: --timeout leaves the ranks of the launcher's machine", "--host localhost:2,node1:2 --timeout LIMIT", wrapper, nil,
			124, `^pprun: timed out after \S+: ranks 0-1 on localhost, .* still running\n$`},
		{"mpich 677: proxies and sessions outlive a job that ended well", "", `sleep %s >/dev/null 2>&1 & exit 0`, nil,
			0, `^$`},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := l.in(t)
			mark := strconv.Itoa(6000 + i)
			args := strings.Fields(c.flags)
			if !strings.Contains(c.flags, "--host ") {
				args = append(args, "--hosts", l.hosts)
			}
			args = append(args, "sh", "-c", fmt.Sprintf(c.script, mark))
			var r result
			switch {
			case slices.Contains(args, "LIMIT"):
				r = l.runFor(args...)
			case c.do == nil:
				r = l.finish(l.Exec("head", l.pprun, args...))
			default:
				r = l.finishAfter(l.Exec("head", l.pprun, args...), mark, func() { c.do(l, mark) })
			}
			r.want(t, c.status, c.stderr)
			for _, host := range []string{"head", "node1", "node2", "node3", "node4"} {
				l.WaitGone(host, func(p labtest.Process) bool { return ofJob(p, mark) }, 10*time.Second)
			}
			if strings.Contains(c.name, "power") {
				l.Host("node4").Boot()
			}
		})
	}
}

// ofJob says whether a process is of a job, or of ssh's for it.
func ofJob(p labtest.Process, mark string) bool {
	switch {
	case p.Command() == "sleep" && p.Args[len(p.Args)-1] == mark, len(p.Args) > 1 && (p.Args[1] == "agent" || p.Args[1] == "guard"):
		return true
	}
	return strings.HasPrefix(p.Args[0], "sshd: root@")
}

// finishAfter does something when two ranks on each of the four nodes have their children, and waits for the end of pprun.
func (l lab) finishAfter(cmd *exec.Cmd, mark string, do func()) result {
	l.t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	for n := 1; n <= 4; n++ {
		l.awaitOn(fmt.Sprintf("node%d", n), 2, func(p labtest.Process) bool { return p.Command() == "sleep" && p.Args[len(p.Args)-1] == mark })
	}
	do()
	done := make(chan struct{})
	go func() { cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(eventually):
		l.t.Fatal("pprun does not end")
	}
	return result{stderr: stderr.String(), status: cmd.ProcessState.ExitCode()}
}
