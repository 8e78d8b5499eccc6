//go:build linux

package agent

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/comm/place"
)

func init() {
	programs["serve"] = serveUntilKilled
	programs["hears"] = hearDeaths
}

// serveUntilKilled takes its place as a rank that serves, leaves a process in a session of its own, and never ends.
func serveUntilKilled() {
	link, err := place.Take(context.Background(), place.Serve)
	if err != nil {
		fmt.Println(err)
		return
	}
	exec.Command("setsid", "sleep", "1000").Start()
	in, _ := io.ReadAll(os.Stdin)
	dir, _ := os.Getwd()
	fmt.Printf("incarnation %d, input %q, in %s, %s", link.Place.Incarnation, in, dir, os.Getenv("EXTRA"))
	fmt.Println()
	<-link.Lost()
}

// hearDeaths is rank 0, which is told how others end.
func hearDeaths() {
	fmt.Println("up")
	io.Copy(io.Discard, os.Stdin) // it does not ask at once
	link, err := place.Take(context.Background(), place.SPMD)
	if err != nil {
		fmt.Println(err)
		return
	}
	link.Hear(place.Told{Died: func(d place.Death) { fmt.Println(d.Rank, d.Incarnation, d.Reason, d.Final) }})
	<-link.Lost()
}

// server is a start of ranks that serve; rank 0 runs elsewhere.
func server(program string) Start {
	s := testProgram(3, "serve")
	s.Program.Path = program
	s.Env = append(s.Env, "EXTRA=extra")
	s.Nodes, s.NodeOf, s.Ranks = []string{"here", "there"}, []int{1, 0, 0}, s.Ranks[1:]
	s.Ranks[0].Stdin = StdinForward
	return s
}

func (l *launcher) respawn(rank, incarnation int) Respawned {
	l.t.Helper()
	l.mu.Lock()
	delete(l.values, KindRespawned)
	l.mu.Unlock()
	if err := l.conn.Send(frame.Header{Kind: KindRespawn, Dst: uint32(rank), ID: uint64(incarnation)}, nil); err != nil {
		l.t.Fatal(err)
	}
	l.wait("respawned", func() bool { return l.values[KindRespawned] != nil })
	r, err := Decode[Respawned](l.values[KindRespawned])
	if err != nil || r.Rank != rank {
		l.t.Fatalf("respawned: %+v, %v", r, err)
	}
	return r
}

// said waits until a rank has printed so many lines, and returns them.
func (l *launcher) said(rank uint32, lines int) string {
	l.t.Helper()
	l.wait("output", func() bool { return l.out[rank] != nil && strings.Count(l.out[rank].String(), "\n") == lines })
	return l.out[rank].String()
}

func TestRespawn(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "t")
	if err := exec.Command("cp", self, program).Run(); err != nil {
		t.Fatal(err)
	}
	l := launchAgent(t)
	l.hello(time.Second)
	pids := l.start(server(program))
	l.feed(1, []byte("words"))
	want := "incarnation 0, input \"words\", in /tmp, extra\n"
	if got := l.said(1, 1); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	l.said(2, 1)
	if err := os.Remove(program); err != nil { // as a build in the meantime would
		t.Fatal(err)
	}
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho other\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	sleepers := func() (n int) {
		for _, p := range listed() {
			if p.session != pids[0] && !p.zombie && marked(p.pid, [][]byte{[]byte("PPRUN_JOB=" + l.job), []byte("PPRUN_RANK=1")}) {
				n++
			}
		}
		return n
	}
	for i := 1; i <= 2; i++ {
		until(t, "a process beside the rank's session", func() bool { return sleepers() == 1 })
		syscall.Kill(pids[0], syscall.SIGKILL)
		l.wait("exit", func() bool { return l.exits[1].PID == pids[0] })
		if x := l.exits[1]; x.Signal != 9 || x.Killed || !x.Joined || x.Left || x.Incarnation != uint32(i-1) {
			t.Errorf("%+v", x)
		}
		if n := sleepers(); n != 0 {
			t.Errorf("%d processes are left of the rank", n)
		}
		r := l.respawn(1, i)
		if r.PID == 0 {
			t.Fatalf("%+v", r)
		}
		pids[0] = r.PID
		// What was under way to the one before goes nowhere.
		l.conn.Send(frame.Header{Kind: KindStdin, Dst: 1}, []byte("late"))
		want += fmt.Sprintf("incarnation %d, input \"\", in /tmp, extra\n", i)
		if got := l.said(1, 1+i); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	l.sendID(KindKill, 0)
	l.wait("exits", func() bool { return l.exits[1].PID == pids[0] && l.exits[2].PID == pids[1] })
	if x := l.exits[1]; !x.Killed || x.Incarnation != 2 {
		t.Errorf("%+v", x)
	}
	if r := l.respawn(1, 3); r.PID != 0 || !strings.Contains(r.Failure, "the job ends") {
		t.Errorf("after the end: %+v", r)
	}
	l.bye()
}

// TestRespawnFromEmptiedCache has somebody delete the cache while the job runs.
func TestRespawnFromEmptiedCache(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	compressed := compress(t, program) // first: it takes time in which the launcher would be silent
	dir := t.TempDir()
	l := launchAgent(t, "PPRUN_CACHE="+dir)
	l.hello(time.Second)
	if _, f := l.stage(1, programStage(program), compressed); f != nil {
		t.Fatal(f)
	}
	s := server("")
	s.Program.Stage = 1
	pids := l.start(s)
	l.said(2, 1)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	syscall.Kill(pids[1], syscall.SIGKILL)
	l.wait("exit", func() bool { return l.exits[2].PID == pids[1] })
	if r := l.respawn(2, 1); r.PID == 0 {
		t.Errorf("%+v", r)
	} else {
		l.said(2, 2)
	}
	l.sendID(KindKill, 0)
	l.bye()
}

func TestRespawnOfARunningRank(t *testing.T) {
	l := launchAgent(t)
	l.hello(time.Second)
	l.start(sh(1, "echo up; sleep 1000"))
	l.said(0, 1)
	if err := l.conn.Send(frame.Header{Kind: KindRespawn, ID: 1}, nil); err != nil {
		t.Fatal(err)
	}
	<-l.done // the launcher is mad: the agent ends
	l.nothingLeft()
}

func TestRespawnFails(t *testing.T) {
	dir := t.TempDir()
	l := launchAgent(t)
	l.hello(time.Second)
	s := sh(1, "exit 3")
	s.Dir = filepath.Join(dir, "d")
	if err := os.Mkdir(s.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l.start(s)
	l.exited(1)
	if err := os.Remove(s.Dir); err != nil {
		t.Fatal(err)
	}
	if r := l.respawn(0, 1); r.PID != 0 || !strings.Contains(r.Failure, s.Dir+" on here: cannot be the working directory") {
		t.Errorf("got %+v", r)
	}
	l.bye()
}

func TestRankZeroHearsOfDeaths(t *testing.T) {
	l := launchAgent(t)
	l.hello(time.Second)
	s := testProgram(1, "hears")
	s.Ranks[0].Stdin = StdinForward
	l.start(s)
	l.said(0, 1)
	l.send(KindDeath, place.Death{Rank: 5, Reason: "early"})
	l.conn.Send(frame.Header{Kind: KindStdin}, nil)
	if got := l.said(0, 2); got != "up\n5 0 early false\n" {
		t.Errorf("got %q", got)
	}
	l.send(KindDeath, place.Death{Rank: 6, Incarnation: 2, Reason: "late", Final: true})
	if got := l.said(0, 3); got != "up\n5 0 early false\n6 2 late true\n" {
		t.Errorf("got %q", got)
	}
	l.sendID(KindKill, 0)
	l.exited(1)
	l.send(KindDeath, place.Death{Rank: 7}) // nobody is there to hear it
	l.bye()
}
