//go:build linux

package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/launch/agent"
	"github.com/pprun/pprun/launch/door"
)

// run has a client start ranks of a shell script.
func (r *running) run(c *agent.Conn, ranks int, script string) {
	r.t.Helper()
	s := agent.Start{Program: agent.Program{Path: "/bin/sh"}, Args: []string{"-c", script}, Size: ranks, Nodes: []string{"here"}}
	for i := range ranks {
		s.Ranks = append(s.Ranks, agent.Rank{Rank: i, LocalRank: i})
		s.NodeOf, s.Slots = append(s.NodeOf, 0), append(s.Slots, 1)
	}
	if err := c.SendValue(frame.Header{Kind: agent.KindStart}, s); err != nil {
		r.t.Fatal(err)
	}
}

// hear reads frames up to one of a kind.
func hear[T any](t *testing.T, c *agent.Conn, kind frame.Kind) T {
	t.Helper()
	for {
		h, payload, err := c.Next()
		if err != nil {
			t.Fatalf("%v instead of a frame of kind %d", err, kind)
		}
		if h.Kind == kind {
			v, err := agent.Decode[T](payload)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
}

// Each limit is told by the name of its flag.
func TestQuotas(t *testing.T) {
	r := start(t, "--max-ranks", "2", "--max-upload", "1M", "--max-file", "64K", "--max-per-key", "3")
	ring, err := door.Open(r.keys)
	if err != nil {
		t.Fatal(err)
	}
	ranks, upload, file := r.login(), r.login(), r.login()
	if _, err := door.Dial(t.Context(), r.address, ring, false); err == nil || !strings.Contains(err.Error(), "3 of the same key are there already, and it takes no more (--max-per-key)") {
		t.Errorf("a fourth client: %v", err)
	}
	r.run(ranks, 3, "true")
	if f := hear[agent.Failure](t, ranks, agent.KindFailure); f.Text != "3 ranks on here: its ppserver allows a client 2" || !strings.Contains(f.Fix, "--max-ranks") {
		t.Errorf("3 ranks: %+v", f)
	}
	stage := func(id uint64, size int64) {
		upload.SendValue(frame.Header{Kind: agent.KindStage, ID: id}, agent.Stage{Name: "big", Size: size, Digest: strings.Repeat("00", 32), Program: true})
	}
	stage(1, 70<<10)
	if f := hear[agent.Failure](t, upload, agent.KindFailure); f.Text != "big has 0.1 MB on here: its ppserver allows a client 0.1 MB in a file" || !strings.Contains(f.Fix, "--max-file") {
		t.Errorf("70 KB: %+v", f)
	}
	for id := range uint64(17) {
		stage(2+id, 64<<10)
	}
	if f := hear[agent.Failure](t, upload, agent.KindFailure); f.Text != "big has 0.1 MB on here: its ppserver allows a client 1.0 MB in all" || !strings.Contains(f.Fix, "--max-upload") {
		t.Errorf("17 times 64 KB: %+v", f)
	}
	r.run(file, 1, "exec head -c 100000 /dev/zero >large")
	if x := hear[agent.Exit](t, file, agent.KindExit); x.Signal != int(syscall.SIGXFSZ) {
		t.Errorf("100,000 bytes: %+v", x)
	}
	r.signal(syscall.SIGINT)
	r.end()
}

func TestTimeIsOver(t *testing.T) {
	r := start(t, "--max-time", "300ms", "--max-clients", "1")
	c := r.dial() // nothing waits for answers: on a busy machine the time may be over before there are any
	c.SendValue(frame.Header{Kind: agent.KindHello}, agent.Hello{Version: agent.Version, Job: "0123456789abcdef", Host: "here"})
	r.run(c, 1, "exec sleep 600")
	var note string
	for {
		h, payload, err := c.Next()
		if err != nil {
			break
		}
		if h.Kind == agent.KindNote {
			note = string(payload)
		}
	}
	if !strings.Contains(note, "longer than 300ms (--max-time)") {
		t.Errorf("the client is told %q", note)
	}
	c.Close()
	until(t, "the client is gone", func() bool { return strings.Contains(r.status(), "clients: 0 now") })
	r.dial() // there is room again
	r.signal(syscall.SIGINT)
	r.end()
}

// withGroups starts a ppserver that makes control groups.
func withGroups(t *testing.T, args ...string) *running {
	own, _ := os.ReadFile("/proc/self/cgroup")
	if _, err := findGroups("/sys/fs/cgroup", own); err != nil {
		t.Skip("needs control groups that it may write, as root has them: ", err)
	}
	return start(t, args...)
}

func TestMemoryAndProcesses(t *testing.T) {
	r := withGroups(t, "--max-memory", "96M", "--max-processes", "100")
	c := r.login()
	r.run(c, 1, "head -c 300000000 /dev/zero | tail")
	if x := hear[agent.Exit](t, c, agent.KindExit); x.Code != 128+int(syscall.SIGKILL) && !x.OOM { // of the shell's child, or of the shell
		t.Errorf("300 MB: %+v", x)
	}
	c.Close()
	many := r.login()
	r.run(many, 1, "for i in $(seq 200); do sleep 600 & done; exit 7")
	if x := hear[agent.Exit](t, many, agent.KindExit); x.Code == 7 || !strings.Contains(string(x.Stderr), "fork") {
		t.Errorf("200 processes: %+v", x)
	}
	r.signal(syscall.SIGINT)
	r.end()
}

// Two clients that would have all of the machine get about half of it each, whatever their processes.
func TestFairShares(t *testing.T) {
	r := withGroups(t)
	few, many := r.login(), r.login()
	clients := map[*agent.Conn]int{few: 2, many: 12}
	for c, ranks := range clients {
		r.run(c, ranks, "while :; do :; done")
	}
	for c := range clients {
		r.await(c, agent.KindStarted)
	}
	time.Sleep(2 * time.Second) // both work as long
	for c := range clients {
		c.Send(frame.Header{Kind: agent.KindKill}, nil)
	}
	work := map[*agent.Conn]time.Duration{}
	for c, ranks := range clients {
		for range ranks {
			x := hear[agent.Exit](t, c, agent.KindExit)
			work[c] += x.User + x.System
		}
	}
	t.Logf("2 processes had %v of processor time, 12 had %v", work[few], work[many])
	if work[few]*3 < work[many] { // without groups it is 6 times as much
		t.Errorf("2 processes had %v of processor time, 12 had %v", work[few], work[many])
	}
	r.signal(syscall.SIGINT)
	r.end()
}

// Programs of clients have none of the files that the server was started with.
func TestInheritsNothing(t *testing.T) {
	fd, err := syscall.Dup(0) // which every child inherits
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	r := start(t)
	c := r.login()
	r.run(c, 1, "ls /proc/self/fd")
	var said string
	for kind := frame.Kind(0); kind != agent.KindExit; {
		h, payload, err := c.Next()
		if err != nil {
			t.Fatal(err)
		}
		if kind = h.Kind; kind == agent.KindStdout {
			said += string(payload)
		}
	}
	if got := strings.Join(strings.Fields(said), " "); got != "0 1 2 3" { // 3 is the directory itself
		t.Errorf("descriptors %s", got)
	}
	c.Close()
	r.signal(syscall.SIGINT)
	r.end()
}

// Groups of version 2 share the controllers of the server's own, which holds no process then.
func TestGroupsOfVersion2(t *testing.T) {
	dir := t.TempDir()
	put(dir, "cgroup.controllers", "cpuset cpu io memory pids\n")
	shared, err := delegate(dir)
	if err != nil {
		t.Fatal(err)
	}
	q := quotas{memory: 1 << 30}
	q.Processes = 100
	g := groups{parents: []groupDir{{dir, shared}}}
	made, err := g.make(q)
	if err == nil {
		err = made.add(12345)
	}
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		dir + "/server/cgroup.procs": fmt.Sprint(os.Getpid()), dir + "/cgroup.subtree_control": "+cpu +memory +pids",
		made[0] + "/memory.max": "1073741824", made[0] + "/pids.max": "100", made[0] + "/cgroup.procs": "12345",
	} {
		if b, err := os.ReadFile(file); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v, want %q", file, b, err, want)
		}
	}
}

// What a killed agent has left is gone with its client.
func TestNothingIsLeft(t *testing.T) {
	r := withGroups(t)
	c := r.login()
	mark := fmt.Sprint(600+time.Now().UnixNano()%1e9) + ".5"
	r.run(c, 1, "setsid sleep "+mark+" & setsid setsid sleep "+mark+" & echo; wait")
	r.await(c, agent.KindStdout)
	until(t, "its processes run", func() bool { return len(pidsOf(mark)) == 2 })
	defer c.Close()
	for _, pid := range pidsOf("--server\x00127.0.0.1\x00") {
		if parentOf(pid) == r.cmd.Process.Pid {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	until(t, "its processes are gone", func() bool { return len(pidsOf(mark)) == 0 })
	r.signal(syscall.SIGINT)
	r.end()
}

// pidsOf finds processes by their command line.
func pidsOf(text string) (pids []int) {
	dirs, _ := os.ReadDir("/proc")
	for _, d := range dirs {
		var pid int
		if _, err := fmt.Sscan(d.Name(), &pid); err != nil {
			continue
		}
		if line, _ := os.ReadFile("/proc/" + d.Name() + "/cmdline"); strings.Contains(string(line), text) && !strings.HasPrefix(string(line), "/bin/sh") {
			pids = append(pids, pid)
		}
	}
	return pids
}

func parentOf(pid int) (parent int) {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(stat), ") ")
	fmt.Sscanf(rest, "%c %d", new(rune), &parent)
	return parent
}
