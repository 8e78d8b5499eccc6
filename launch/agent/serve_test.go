//go:build linux

package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pprun/pprun/comm/frame"
)

func TestRanksRun(t *testing.T) {
	l := launchAgent(t)
	r := l.hello(time.Second)
	if r.Version != Version || r.CPUs < 1 || len(r.PublicKey) == 0 || r.Digest != "" {
		t.Errorf("ready: %+v", r)
	}
	pids := l.start(sh(4, `echo "rank $PPRUN_RANK of $PPRUN_SIZE in $PWD, procs $GOMAXPROCS"; echo oops >&2; exit $PPRUN_RANK`))
	exits := l.exited(4)
	for i := range 4 {
		want := fmt.Sprintf("rank %d of 4 in /tmp, procs 2\n", i)
		if got := l.out[uint32(i)].String(); got != want {
			t.Errorf("rank %d printed %q, want %q", i, got, want)
		}
		x := exits[i]
		if x.Code != i || x.Signal != 0 || x.PID != pids[i] || string(x.Stderr) != "oops\n" || x.Wall <= 0 || x.MaxRSS <= 0 || x.Killed {
			t.Errorf("rank %d: %+v", i, x)
		}
	}
	l.bye()
}

func TestSignalEndsRank(t *testing.T) {
	l := launchAgent(t)
	l.hello(time.Second)
	l.start(sh(1, `kill -SEGV $$`))
	if x := l.exited(1)[0]; x.Signal != int(syscall.SIGSEGV) || x.Code != -1 || x.Killed {
		t.Errorf("%+v", x)
	}
	l.bye()
}

func TestKillWithGrace(t *testing.T) {
	l := launchAgent(t)
	l.hello(time.Second)
	l.start(sh(3, `case $PPRUN_RANK in
		0) trap 'echo bye; exit 7' TERM;;
		1) trap '' TERM;;
		2) setsid sh -c 'trap "" TERM; echo up; while :; do sleep 1; done' & sleep 1;;
		esac; echo up; while :; do sleep 0.05; done`))
	l.wait("ranks to be up", func() bool {
		return len(l.out) == 3 && l.out[0].Len() > 0 && l.out[1].Len() > 0 && strings.Count(l.out[2].String(), "up") == 2
	})
	l.sendID(KindKill, 300)
	x := l.exited(3)
	if x[0].Code != 7 || !strings.HasSuffix(l.out[0].String(), "bye\n") {
		t.Errorf("rank 0: %+v %q", x[0], l.out[0])
	}
	if x[1].Signal != int(syscall.SIGKILL) || x[2].Signal != int(syscall.SIGTERM) {
		t.Errorf("rank 1: %+v\nrank 2: %+v", x[1], x[2])
	}
	for _, x := range x {
		if !x.Killed {
			t.Errorf("not told as killed: %+v", x)
		}
	}
	l.bye()
}

func TestEndOfInputEndsAll(t *testing.T) {
	l := launchAgent(t)
	l.hello(100 * time.Millisecond)
	l.start(sh(3, `trap '' TERM; setsid sh -c 'trap "" TERM; sleep 1000' & echo up; while :; do sleep 1; done`))
	l.wait("ranks to be up", func() bool { return len(l.out) == 3 })
	l.conn.Close()
	l.nothingLeft()
}

func TestBackgroundProcessesEndWithTheJob(t *testing.T) {
	l := launchAgent(t)
	l.hello(time.Second)
	l.start(sh(1, `sleep 1000 >/dev/null 2>&1 & setsid sleep 1000 >/dev/null 2>&1 & echo gone`))
	if x := l.exited(1)[0]; x.Code != 0 || x.Killed {
		t.Errorf("%+v", x)
	}
	l.bye()
}

func TestAgentKilledLeavesNothing(t *testing.T) {
	l := launchAgent(t)
	l.hello(time.Second)
	l.start(sh(2, `sleep 1000 & setsid sleep 1000 & env -i /bin/sleep 1000 & echo up; wait`))
	l.wait("ranks to be up", func() bool { return len(l.out) == 2 })
	until(t, "the guard", l.guarded)
	sessions := map[int]bool{}
	for _, p := range listed() {
		if p.parent == l.cmd.Process.Pid {
			sessions[p.pid] = true
		}
	}
	syscall.Kill(l.cmd.Process.Pid, syscall.SIGKILL)
	l.nothingLeft()
	until(t, "the sessions to empty", func() bool {
		for _, p := range listed() {
			if sessions[p.session] && !p.zombie {
				return false
			}
		}
		return true
	})
}

func TestRemoteAgent(t *testing.T) {
	l := launchRemoteAgent(t, "SSH_CONNECTION=192.0.2.1 5555 192.0.2.7 22")
	r := l.hello(time.Second)
	self, err := Identity() // the agent is this test's own executable
	if err != nil {
		t.Fatal(err)
	}
	if r.Digest != self || r.Reached != "192.0.2.7" {
		t.Errorf("ready: %+v", r)
	}
	s := sh(2, "read x; echo got $x; kill -9 $$")
	s.Ranks[1].Stdin = StdinForward
	l.start(s)
	l.feed(1, []byte("words\n"))
	l.exited(2)
	if got := l.out[0].String() + l.out[1].String(); got != "got\ngot words\n" {
		t.Errorf("got %q", got)
	}
	l.bye()
}

func TestSilentRemoteLauncher(t *testing.T) {
	t.Parallel()
	l := launchRemoteAgent(t)
	l.send(KindHello, Hello{Version: Version, Job: l.job, Host: "here", Heartbeat: time.Second})
	l.start(sh(1, "sleep 1000"))
	<-l.done // though our ends of the pipes are open
	l.nothingLeft()
}

func TestAgentKilledWhileStaging(t *testing.T) {
	dir := t.TempDir()
	l := launchAgent(t, "PPRUN_CACHE="+dir)
	l.hello(time.Second)
	program := make([]byte, 1<<20)
	if err := l.conn.SendValue(frame.Header{Kind: KindStage, ID: 1}, programStage(program)); err != nil {
		t.Fatal(err)
	}
	partial := func() bool { found, _ := filepath.Glob(dir + "/*/.*"); return len(found) > 0 }
	until(t, "the partial file", partial)
	until(t, "the guard", l.guarded)
	syscall.Kill(l.cmd.Process.Pid, syscall.SIGKILL)
	until(t, "the partial file to go", func() bool { return !partial() })
}

// What has made itself a session and an environment of its own is still in the control group.
func TestAgentKilledLeavesNoStray(t *testing.T) {
	g := newGroup(testJob+"00", 0)
	if g == nil {
		t.Skip("needs a control group (version 2) that this user may divide")
	}
	g.remove()
	l := launchAgent(t)
	l.hello(time.Second)
	seconds := fmt.Sprintf("1000%d", os.Getpid())
	l.start(sh(1, `setsid env -i /bin/sleep `+seconds+` & echo up; wait`))
	stray := func() bool {
		return slices.ContainsFunc(listed(), func(p process) bool {
			line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid))
			return string(line) == "/bin/sleep\x00"+seconds+"\x00"
		})
	}
	until(t, "the stray", stray)
	until(t, "the guard", l.guarded)
	syscall.Kill(l.cmd.Process.Pid, syscall.SIGKILL)
	l.nothingLeft()
	until(t, "the stray to go", func() bool { return !stray() })
	until(t, "the group to go", func() bool { _, err := os.Stat(groupPath(l.job, 0)); return os.IsNotExist(err) })
}

// An agent that is stopped does not hear that it was given up; its guard does.
func TestAgentStoppedLeavesNothing(t *testing.T) {
	l := launchRemoteAgent(t)
	l.send(KindHello, Hello{Version: Version, Job: l.job, Host: "here", Heartbeat: 500 * time.Millisecond})
	l.start(sh(2, `setsid sleep 1000 & echo up; wait`))
	l.wait("ranks to be up", func() bool { return len(l.out) == 2 })
	until(t, "the guard", l.guarded)
	syscall.Kill(l.cmd.Process.Pid, syscall.SIGSTOP)
	<-l.done
	l.nothingLeft()
}

// A guard that is stopped goes, too.
func TestGuardStopped(t *testing.T) {
	l := launchAgent(t)
	l.hello(time.Second)
	l.start(sh(1, `sleep 0.2`))
	until(t, "the guard", l.guarded)
	syscall.Kill(l.guardPID(), syscall.SIGSTOP)
	guard := l.guardPID()
	l.exited(1)
	l.bye()
	until(t, "the guard to go", func() bool { return syscall.Kill(guard, 0) == syscall.ESRCH })
}

// Each rank is a session of its own, and dies with the agent even where there is no guard: more of them than threads start
// them.
func TestRanksDieWithTheAgent(t *testing.T) {
	l := launchAgent(t)
	l.hello(time.Second)
	const n = 3 * spawnThreads
	pids := l.start(sh(n, `exec sleep 1000`))
	until(t, "the guard", l.guarded)
	for _, pid := range pids {
		if p, err := readProcess(pid, make([]byte, 512)); err != nil || p.session != pid || p.zombie {
			t.Errorf("rank's process %d: %+v, %v", pid, p, err)
		}
	}
	syscall.Kill(l.guardPID(), syscall.SIGKILL)
	syscall.Kill(l.cmd.Process.Pid, syscall.SIGKILL)
	until(t, "the ranks to go", func() bool {
		return !slices.ContainsFunc(pids, func(pid int) bool {
			p, err := readProcess(pid, make([]byte, 512))
			return err == nil && !p.zombie
		})
	})
	l.clearAway()
}

// An agent that is killed before it has a guard is cleared away by its launcher.
func TestLeftBehind(t *testing.T) {
	l := launchAgent(t)
	l.hello(time.Second)
	l.start(sh(2, `setsid sleep 1000 & echo up; wait`))
	l.wait("ranks to be up", func() bool { return len(l.out) == 2 })
	until(t, "the guard", l.guarded)
	syscall.Kill(l.guardPID(), syscall.SIGKILL)
	syscall.Kill(l.cmd.Process.Pid, syscall.SIGKILL)
	l.cmd.Wait()
	l.clearAway()
	l.nothingLeft()
}

// clearAway is what a launcher does after an agent that was killed.
func (l *launcher) clearAway() {
	l.t.Setenv("TMPDIR", "/tmp")
	l.t.Setenv("XDG_RUNTIME_DIR", "")
	LeftBehind(l.job, 0)
}

// guarded says whether the agent has a guard.
func (l *launcher) guarded() bool { return l.guardPID() != 0 }

// guardPID is the guard's process, 0 without one.
func (l *launcher) guardPID() int {
	for _, p := range listed() {
		if p.parent == l.cmd.Process.Pid && marked(p.pid, [][]byte{[]byte(guardedJob + "=" + l.job)}) {
			return p.pid
		}
	}
	return 0
}
