package launch

import (
	"context"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pprun/pprun/comm/place"
	"github.com/pprun/pprun/hostfile"
	"github.com/pprun/pprun/launch/agent"
)

// A known is what is known of a node that has fallen silent.
type known struct{ quiet time.Duration }

func (k known) Quiet() time.Duration                   { return k.quiet }
func (k known) Segments() (uint32, bool)               { return 0, true }
func (k known) Peer() net.Addr                         { return &net.TCPAddr{Port: 2222} }
func (k known) Broken() bool                           { return false }
func (k known) BootID(context.Context) (string, error) { return "", nil }

func TestSilence(t *testing.T) {
	const timeout = 15 * time.Second
	for _, c := range []struct {
		name  string
		with  func(j *job, n *node)
		words string
		runs  bool
	}{
		{"an agent that is no ssh host's", func(j *job, n *node) { n.remote = nil }, "its agent is silent for 15s", false},
		{"sshd answers", func(j *job, n *node) { n.remote = known{time.Second} }, "though sshd there answers: it is stopped or hangs", false},
		{"sshd's last word came just after the agent's", func(j *job, n *node) { n.remote = known{timeout - time.Second} }, "no power or no network", false},
		{"rank 0 hears", func(j *job, n *node) { j.lives[1] = life{role: place.Serve} }, "though rank 0 hears the ranks there: is port 2222 blocked?", false},
		{"rank 0 does not hear", func(j *job, n *node) { j.lives[1] = life{role: place.Serve, heard: place.Unheard} }, "no power or no network", false},
		{"rank 0 is lost, too", func(j *job, n *node) { j.lives[1] = life{role: place.Serve}; j.nodes[0].gone = true }, "no power or no network", false},
		{"before anybody knows who runs where", func(j *job, n *node) { j.placement, n.ranks, n.running = Placement{}, nil, nil }, "no power or no network", false},
		{"packets come", func(j *job, n *node) { n.repeats = true }, "it sends, but has not heard this machine for 15s: the network carries one direction only", false},
		{"no route", func(j *job, n *node) { n.probe.Store(syscall.EHOSTUNREACH.Error()) }, "nor does it take a new connection (no route to host): it has no power or no network", false},
		{"a new connection works", func(j *job, n *node) { n.probe.Store("") }, "nothing was heard of it for 15s", true},
		{"a new connection is refused", func(j *job, n *node) { n.probe.Store(syscall.ECONNREFUSED.Error()) }, "nothing was heard of it for 15s", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := &job{Config: Config{HeartbeatTimeout: timeout}, lives: make([]life, 2)}
			j.placement.NodeOf = []int{0, 1}
			n := &node{index: 1, ranks: []int{1}, running: map[int]bool{1: true}, remote: known{time.Minute}}
			j.nodes = []*node{{running: map[int]bool{0: true}}, n}
			c.with(j, n)
			words, runs := j.silence(n)
			if !strings.HasSuffix(words, c.words) || runs != c.runs {
				t.Errorf("%q, %v; want %q, %v", words, runs, c.words, c.runs)
			}
		})
	}
}

// A busyHost takes connections, or does not, and is late to say which boot it lives in.
type busyHost struct {
	known
	peer net.Addr
	late time.Duration
}

func (h busyHost) Peer() net.Addr { return h.peer }

func (h busyHost) BootID(ctx context.Context) (string, error) {
	select {
	case <-time.After(h.late):
		return "boot 1", nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// A host whose connection has broken is waited for as long as it takes connections, unless the job ends.
func TestAutopsy(t *testing.T) {
	listening, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listening.Close() })
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name string
		host busyHost
		asks context.Context
		runs bool
	}{
		{"busy", busyHost{peer: listening.Addr(), late: autopsyTime + time.Second}, t.Context(), true},
		{"refuses", busyHost{peer: closed.Addr(), late: 20 * time.Second}, t.Context(), false},
		{"behind a jump host", busyHost{late: 20 * time.Second}, t.Context(), false},
		{"the job ends", busyHost{peer: listening.Addr(), late: 20 * time.Second}, over, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := &node{remote: c.host}
			n.ready = &agent.Ready{BootID: "boot 1"}
			if got := n.autopsy(c.asks, "broken", time.Minute); strings.Contains(got, "though it runs") != c.runs {
				t.Errorf("%q", got)
			}
		})
	}
}

// A node that is lost is the reason, with the ranks that ran there, also where a rank failed of it and was heard of first.
func TestLateLoss(t *testing.T) {
	j := &job{lives: make([]life, 3)}
	n := &node{host: hostfile.Node{Host: "node2"}, ranks: []int{1, 2}, running: map[int]bool{1: true, 2: true}}
	j.verdict = &verdict{causes: []cause{{what: words("rank 0 failed"), orphan: true, root: new(bool)}}}
	j.loseRanks(n, "lost node2: its agent is gone")
	if _, text := j.verdict.judge(); text != "lost node2: its agent is gone: ranks 1-2 ran there: job aborted" || !n.guilty {
		t.Errorf("%q, guilty %v", text, n.guilty)
	}
}

func TestStandLines(t *testing.T) {
	j := &job{Config: Config{HeartbeatTimeout: 15 * time.Second}}
	j.placement.Hosts = []string{"node1", "node2"}
	j.placement.NodeOf = []int{0, 0, 1, 1, 1, 1}
	var some, many []stand
	for r := range 2 {
		some = append(some, stand{rank: r, pid: 40 + r, kind: isStopped})
	}
	for r := range 6 {
		many = append(many, stand{rank: 5 - r, kind: isUnheard})
	}
	for _, c := range []struct {
		kind standKind
		list []stand
		want string
	}{
		{isStopped, some, "rank 0 on node1 (pid 40) is stopped: kill -CONT 40 there lets it go on\nrank 1 on node1 (pid 41) is stopped: kill -CONT 41 there lets it go on"},
		{goesOn, some, ""},
		{isUnheard, many, "ranks 0-5 on node[1-2] have not been heard of for 10s"},
	} {
		if got := strings.Join(j.standLines(c.kind, c.list), "\n"); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}
