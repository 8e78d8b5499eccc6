package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pprun/pprun/comm"
	"github.com/pprun/pprun/comm/coll"
	"github.com/pprun/pprun/scripts/lab/labtest"
)

// beWaiting is a rank that has joined and waits for a message that nobody sends.
func beWaiting() {
	ctx := context.Background()
	c, err := comm.Init(ctx)
	if err == nil {
		err = coll.Barrier(ctx, c)
	}
	if err == nil {
		if c.Rank() == 0 {
			fmt.Fprintln(os.Stderr, "all are up")
		}
		_, err = coll.Recv[int](ctx, c, 0, 7)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// A fault is what befalls the second of two nodes while a job waits there, and what comes of it.
type fault struct {
	name   string
	befall func(l lab, node string)
	within time.Duration            // the timeout, where that of the test is too short for a busy machine; 0: it is not
	stderr string                   // what pprun says
	heal   func(l lab, node string) // once pprun has ended; nil: it does not
}

const faultTimeout = 3 * time.Second

// TestFaults has nodes and networks fail under jobs, and measures when pprun knows and when all is clean. The timeout is
// PPRUN_HEARTBEAT_TIMEOUT, if that is set.
func TestFaults(t *testing.T) {
	timeout := faultTimeout
	if s := os.Getenv("PPRUN_HEARTBEAT_TIMEOUT"); s != "" {
		timeout, _ = time.ParseDuration(s)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	faults := faultList(timeout)
	up := labtest.Up(t, labtest.Config{Hosts: 2*len(faults) + 2})
	if up.Mode() != labtest.Root {
		t.Skip("needs networks of its own: root mode only")
	}
	l := lab{up, t, up.Install("pprun", exe), ""}
	l.finish(l.Exec("head", l.pprun, "--host", fmt.Sprintf("node[1-%d]:1", 2*len(faults)+2), "true")).want(t, 0, `^$`) // now they have the agent
	var rows table
	defer rows.write(t)
	var all sync.WaitGroup
	all.Go(func() {
		t.Run("F7, F18 slow nodes and networks", func(t *testing.T) {
			slow(t, l.in(t), fmt.Sprintf("node%d", 2*len(faults)+1), fmt.Sprintf("node%d", 2*len(faults)+2))
		})
	})
	for i, f := range faults {
		all.Go(func() { // not by t.Parallel, which counts CPUs: most of them wait
			t.Run(f.name, func(t *testing.T) {
				l := l.in(t)
				root, node := fmt.Sprintf("node%d", 2*i+1), fmt.Sprintf("node%d", 2*i+2)
				timeout := cmp.Or(f.within, timeout)
				var began, ended time.Time
				cmd := l.Exec("head", l.pprun, "--heartbeat-timeout", timeout.String(), "--grace", "1s", "--host", root+":1,"+node+":2", l.pprun, "waiting")
				r := l.until(cmd, "all are up", func() {
					began = time.Now()
					f.befall(l, node)
				})
				ended = time.Now()
				host := strings.NewReplacer("ROOT", root, "NODE", node, "T", timeout.String())
				r.want(t, 125, host.Replace(f.stderr))
				ours := func(p labtest.Process) bool {
					return len(p.Args) > 1 && (p.Args[1] == "waiting" || p.Args[1] == "agent" || p.Args[1] == "guard")
				}
				l.WaitGone(root, ours, 5*time.Second)
				if f.heal != nil {
					f.heal(l, node)
				}
				l.WaitGone(node, ours, timeout+8*time.Second)
				rows.add(fmt.Sprintf("%s: told after %.1f s, clean after %.1f s", f.name, ended.Sub(began).Seconds(), time.Since(began).Seconds()), result{stderr: verdict(r.stderr), status: r.status}, ended.Sub(began))
			})
		})
	}
	all.Wait()
}

// verdict is the last line of pprun's own.
func verdict(stderr string) string {
	last := ""
	for line := range strings.Lines(stderr) {
		if strings.HasPrefix(line, "pprun: ") && !strings.HasPrefix(line, "pprun: rank ") || strings.Contains(line, "job aborted") {
			last = line
		}
	}
	return last
}

func faultList(timeout time.Duration) []fault {
	const ran = `: ranks 1-2 ran there: job aborted`
	undrop := func(l lab, node string) { l.Host(node).Undrop() }
	agent := func(p labtest.Process) bool { return len(p.Args) > 1 && p.Args[1] == "agent" }
	return []fault{
		{name: "F5 power loss", befall: func(l lab, node string) { l.Host(node).Crash() },
			stderr: `pprun: lost NODE: nothing was heard of it for T, nor does it take a new connection \(.*\): it has no power or no network` + ran},
		{name: "F6 partition", befall: func(l lab, node string) { l.Host(node).Drop(labtest.Both) },
			stderr: `pprun: lost NODE: nothing was heard of it for T, nor does it take a new connection \(.*\): it has no power or no network` + ran},
		{name: "F6 partition that heals", befall: func(l lab, node string) { l.Host(node).Drop(labtest.Both) }, heal: undrop,
			stderr: `pprun: lost NODE: nothing was heard of it for T, nor does it take a new connection \(.*\): it has no power or no network` + ran},
		{name: "F6 partition between nodes", befall: func(l lab, node string) { l.Host(node).Part(before(node)) },
			stderr: `pprun: rank [12] on NODE \(pid \d+, after \S+\): cut off from rank 0 on ROOT: (neither heard the other|it heard nothing of that) for T: job aborted`},
		{name: "F8 half-open, nothing reaches the node", befall: func(l lab, node string) { l.Host(node).DropIP(labtest.In) }, heal: undrop,
			stderr: `pprun: lost NODE: it sends, but has not heard this machine for T: the network carries one direction only` + ran},
		{name: "F8 half-open, nothing comes from the node", befall: func(l lab, node string) { l.Host(node).DropIP(labtest.Out) }, heal: undrop,
			stderr: `pprun: lost NODE: nothing was heard of it for T, nor does it take a new connection \(timed out\): it has no power or no network` + ran},
		{name: "F11 sshd session killed", within: 20 * time.Second, befall: func(l lab, node string) {
			l.killOn(node, func(p labtest.Process) bool { return strings.Contains(p.Args[0], "sshd: root@notty") })
		}, stderr: `pprun: lost NODE: .*, though it runs: was the ssh session killed, .*` + ran},
		{name: "F11 port 22 dropped", befall: func(l lab, node string) {
			l.Output(node, "sh", "-c", "nft -f - <<X\ntable inet wall {\nchain in { type filter hook input priority 0; policy accept; tcp dport 22 drop\n}\n}\nX")
		}, stderr: `pprun: lost NODE: nothing comes through ssh for T, though rank 0 hears the ranks there: is port 22 blocked\?` + ran},
		{name: "F12 agent stopped", befall: func(l lab, node string) {
			for _, p := range l.Processes(node) {
				if agent(p) {
					l.Output(node, "kill", "-STOP", strconv.Itoa(p.Pid))
				}
			}
		}, stderr: `pprun: lost NODE: (its agent is silent for T, though sshd there answers: it is stopped or hangs|its agent is gone.*)` + ran},
		{name: "F30 reboot", within: 20 * time.Second, befall: func(l lab, node string) {
			l.Host(node).Crash()
			l.Host(node).Boot()
		}, stderr: `pprun: lost NODE: .*: it was restarted` + ran},
	}
}

// before is the node whose number is one less.
func before(node string) string {
	n, _ := strconv.Atoi(strings.TrimPrefix(node, "node"))
	return fmt.Sprintf("node%d", n-1)
}
