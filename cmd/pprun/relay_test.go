package main

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pprun/pprun/scripts/lab/labtest"
)

// TestNodesApart runs jobs on nodes that pprun reaches and that do not all reach each other.
func TestNodesApart(t *testing.T) {
	up := labtest.Up(t, labtest.Config{Hosts: 8})
	if up.Mode() != labtest.Root {
		t.Skip("needs networks of its own: root mode only")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	l := lab{up, t, up.Install("pprun", exe), ""}
	program := l.compile("link", "../../scripts/bench/link")
	for _, node := range []string{"node2", "node3"} {
		l.Host("node1").Part(node)
	}
	l.Host("node4").Part("node5")
	l.Host("node6").Part("node7")
	for n := 1; n <= 8; n++ {
		l.Output(fmt.Sprintf("node%d", n), "sh", "-c",
			"ip link add docker0 type bridge && ip addr add 172.17.0.1/16 dev docker0 && ip link set docker0 up")
	}
	l.Host("node3").SSHD("conf", "AllowTcpForwarding no", "MaxSessions 1")
	for _, node := range []string{"node4", "node5"} {
		l.Host(node).Plug()
	}
	for _, node := range []string{"node5", "node7"} {
		l.impostor(node)
	}
	l.Output("head", "sh", "-c", "nft -f - <<X\n"+noCallers+"\nX")

	l.finish(l.Exec("head", l.pprun, "--host", "node[1-8]:1", "true")).want(t, 0, `^$`) // now they have the agent

	var rows table
	defer rows.write(t)
	const advice = `: their messages go through this ssh connection \(slower\)\n$`
	var all sync.WaitGroup
	for _, c := range []struct {
		name, hosts string
		ranks       int
		files       string // that the hub may open, if that is to be too few for a link of each rank
		stderr      string
	}{
		{"nodes apart, AllowTcpForwarding no", "node[1-3]:2", 6, "",
			`^pprun: node\[2-3\]: cannot reach rank 0 on node1 \(10.77.0.1:\d+: timed out; 172.17.0.1:\d+: connection refused\)` + advice},
		{"the second network works, an impostor on docker0", "node[4-5]:1", 2, "", `^$`},
		{"an impostor on docker0 and no way", "node[6-7]:1", 2, "",
			`^pprun: node7: cannot reach rank 0 on node6 \(10.77.0.6:\d+: timed out; 172.17.0.1:\d+: not this job's hub\)` + advice},
		{"nodes cannot connect to the launcher", "head:1,node[7-8]:1", 3, "",
			`^pprun: node\[7-8\]: cannot reach rank 0 on head \(10.77.0.250:\d+: timed out\)` + advice},
		{"nor can their agents, which have all links", "head:1,node[7-8]:2", 5, "67",
			`^pprun: node\[7-8\]: cannot reach rank 0 on head \(10.77.0.250:\d+: timed out\)` + advice},
	} {
		all.Go(func() {
			t.Run(c.name, func(t *testing.T) {
				l := l.in(t)
				began := time.Now()
				r := l.finish(l.Exec("head", "sh", "-c", `ulimit -n $0; exec "$@"`, cmp.Or(c.files, "1024"), "timeout", "-s", "KILL", fmt.Sprint(deadline.Seconds()), l.pprun, "--host", c.hosts, program, "-trips", "20", "-mib", "4"))
				rows.add(c.name+": "+c.hosts, r, time.Since(began))
				r.want(t, 0, c.stderr)
				if n := strings.Count(r.stdout, "round trip"); n != c.ranks-1 {
					t.Errorf("%d lines on stdout, want %d:\n%s", n, c.ranks-1, r.stdout)
				}
			})
		})
	}
	all.Go(func() {
		t.Run("quiet", func(t *testing.T) {
			l := l.in(t)
			l.finish(l.Exec("head", l.pprun, "-q", "--host", "node[1-2]:1", program, "-trips", "1", "-mib", "1")).want(t, 0, `^$`)
		})
	})
	all.Wait()
	t.Run("kill", func(t *testing.T) { killRelayed(t, l.in(t), program) })
}

// noCallers lets nobody connect to a host.
const noCallers = `table inet wall {
	chain in { type filter hook input priority 0; policy accept; tcp flags & (syn|ack) == syn drop
	}
}`

// impostor has a stranger answer on every port of a node's docker0.
func (l lab) impostor(node string) {
	l.t.Helper()
	l.Output(node, "sh", "-c", `nft -f - <<X
table ip impostor {
	chain out { type nat hook output priority -100; policy accept; ip daddr 172.17.0.1 tcp dport > 1023 redirect to :9
	}
}
X
socat TCP-LISTEN:9,fork,reuseaddr SYSTEM:"echo 220 mail; sleep 20" >/dev/null 2>&1 </dev/null &
until ss -ltn | grep -q :9; do sleep 0.02; done`)
}

// Whoever is killed while bytes flow through the relay, nothing is left.
func killRelayed(t *testing.T, l lab, program string) {
	is := func(mark string) func(labtest.Process) bool {
		return func(p labtest.Process) bool {
			return len(p.Args) > 3 && p.Args[len(p.Args)-1] == mark && p.Command() == "link"
		}
	}
	agent := func(p labtest.Process) bool { return len(p.Args) > 1 && p.Args[1] == "agent" }
	var all sync.WaitGroup
	for i, c := range []struct {
		name   string
		hosts  []string
		victim func(l lab, cmd *exec.Cmd, mark string)
		status int
		stderr string
	}{
		{"rank", []string{"node1", "node2"}, func(l lab, _ *exec.Cmd, mark string) { l.killOn("node2", is(mark)) },
			137, `pprun: rank 1 on node2 \(pid \d+, after \S+\): killed by signal 9`},
		{"rank 0", []string{"node6", "node7"}, func(l lab, _ *exec.Cmd, mark string) { l.killOn("node6", is(mark)) },
			137, `pprun: rank 0 on node6 \(pid \d+, after \S+\): killed by signal 9`}, // though rank 1 may be known to have failed first
		{"agent", []string{"head", "node8"}, func(l lab, _ *exec.Cmd, _ string) { l.killOn("node8", agent) },
			125, `pprun: lost node8: .*: rank 1 ran there: job aborted`},
		{"launcher, interrupted", []string{"head", "node3"}, func(l lab, cmd *exec.Cmd, _ string) {
			if err := labtest.Signal(cmd, syscall.SIGINT); err != nil {
				l.t.Error(err)
			}
		}, 130, ``},
	} {
		all.Go(func() {
			t.Run(c.name, func(t *testing.T) {
				l := l.in(t)
				mark := fmt.Sprint(100_000 + i)
				cmd := l.Exec("head", l.pprun, "--host", strings.Join(c.hosts, ","), "--ppn", "1", program, "-trips", "2", "-mib", mark)
				r := l.until(cmd, `cannot reach rank 0`, func() { c.victim(l, cmd, mark) })
				r.want(t, c.status, c.stderr)
				for _, host := range c.hosts {
					l.WaitGone(host, is(mark), 10*time.Second)
				}
			})
		})
	}
	all.Wait()
	for n := 1; n <= 8; n++ {
		l.WaitGone(fmt.Sprintf("node%d", n), agent, 10*time.Second)
	}
}

// until runs a command, does something when its standard error says what is expected, and waits for its end.
func (l lab) until(cmd *exec.Cmd, expected string, do func()) result {
	l.t.Helper()
	return l.untilEnd(cmd, expected, deadline, func(<-chan struct{}) { do() })
}

// untilEnd is until for what ends within a time of its own, and does something that may take until then.
func (l lab) untilEnd(cmd *exec.Cmd, expected string, within time.Duration, do func(ended <-chan struct{})) result {
	l.t.Helper()
	var stdout, stderr said
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	late := time.After(eventually)
	for !strings.Contains(stderr.String(), expected) {
		select {
		case <-time.After(10 * time.Millisecond):
			continue
		case <-ended:
		case <-late:
			cmd.Process.Kill()
			<-ended
		}
		l.t.Fatalf("pprun has ended, or waits, and has not said %q but:\n%s", expected, stderr.String())
	}
	do(ended)
	select {
	case <-ended:
	case <-time.After(within):
		cmd.Process.Kill()
		<-ended
		l.t.Error("pprun does not end")
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// compile makes an executable of a package that every host sees.
func (l lab) compile(name, dir string) string {
	l.t.Helper()
	path := filepath.Join(l.t.TempDir(), name)
	cmd := exec.CommandContext(l.t.Context(), "go", "build", "-o", path, dir)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		l.t.Fatalf("go build: %v\n%s", err, out)
	}
	return l.Install(name, path)
}
