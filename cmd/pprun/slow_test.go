package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pprun/pprun/comm"
)

// spins keeps a processor busy for a while and makes garbage.
var spins = comm.Register("spins", func(ctx context.Context, d time.Duration) (int, error) {
	kept := make([][]byte, 64)
	n := 0
	for end := time.Now().Add(d); time.Now().Before(end); n++ {
		kept[n%len(kept)] = make([]byte, 16<<10)
	}
	return n, nil
})

// beSpinning is a rank of a job that keeps all its slots busy for as long as the argument says.
func beSpinning(d time.Duration) {
	comm.Main(func(ctx context.Context, c *comm.Comm) error {
		fmt.Fprintln(os.Stderr, "all are up")
		end := time.Now().Add(d)
		tasks := func(yield func(time.Duration) bool) {
			for time.Now().Before(end) && yield(100*time.Millisecond) {
			}
		}
		done := 0
		for _, err := range spins.With(comm.Window(4*c.Slots())).Map(ctx, tasks) {
			if err != nil {
				return err
			}
			done++
		}
		fmt.Println("done:", done > 0)
		return nil
	})
}

// slow has a job with four times as many busy ranks as processors on nodes whose network loses every tenth packet, or takes
// 1 Mbit/s, while ranks are stopped for a while: nobody is taken for dead. It takes PPRUN_SOAK, if that is set, else some
// seconds; PPRUN_SOAK_LOSS is how many percent of the packets are lost.
func slow(t *testing.T, l lab, root, node string) {
	d := 6 * time.Second
	if s := os.Getenv("PPRUN_SOAK"); s != "" {
		d, _ = time.ParseDuration(s)
	}
	percent := 10
	if s := os.Getenv("PPRUN_SOAK_LOSS"); s != "" {
		percent, _ = strconv.Atoi(s)
	}
	ranks := 2 * runtime.NumCPU()
	cmd := l.Exec("head", l.pprun, "--host", fmt.Sprintf("%s:%d,%s:%[2]d", root, ranks, node), "-c", "1", "-x", "GOGC=1", l.pprun, "spinning", d.String())
	bursts := 0
	r := l.untilEnd(cmd, "all are up", d+time.Minute, func(ended <-chan struct{}) {
		l.Host(node).Loss(percent)
		l.Host(root).Rate("1mbit")
		for {
			select {
			case <-ended:
				return
			case <-time.After(time.Second):
			}
			if d < 10*time.Second && bursts > 0 {
				continue
			}
			bursts++
			if !l.burst([]string{root, node}[rand.N(2)], min(5*time.Second, d/3), ended) {
				return
			}
		}
	})
	said := []string{}
	for line := range strings.Lines(patient.ReplaceAllString(r.stderr, "")) {
		if !strings.Contains(line, "is stopped: kill") && !strings.HasSuffix(line, " goes on\n") && !strings.Contains(line, "all are up") {
			said = append(said, line)
		}
	}
	t.Logf("%v, %d ranks, %d bursts of SIGSTOP, %d %% of packets lost", d, 2*ranks, bursts, percent)
	r.want(t, 0, ``)
	if len(said) > 0 || r.stdout != "done: true\n" {
		t.Errorf("stdout %q, stderr\n%s", r.stdout, strings.Join(said, ""))
	}
}

// burst stops a rank on a host for a while. It returns false once the job has ended.
func (l lab) burst(host string, d time.Duration, ended <-chan struct{}) bool {
	var pids []string
	for _, p := range l.Processes(host) {
		if len(p.Args) > 1 && p.Args[1] == "spinning" {
			pids = append(pids, strconv.Itoa(p.Pid))
		}
	}
	if pids == nil {
		return true
	}
	pid := pids[rand.N(len(pids))]
	l.Exec(host, "kill", "-STOP", pid).Run()
	defer l.Exec(host, "kill", "-CONT", pid).Run()
	select {
	case <-ended:
		return false
	case <-time.After(d):
		return true
	}
}
