//go:build linux

package agent

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/pprun/pprun/comm/frame"
	"golang.org/x/sys/unix"
)

// TestGuardThatReadsNothing has an agent whose guard is stopped, and does not read what it is told, for longer than the pipe
// to it has room: the agent goes on and ends its job all the same.
func TestGuardThatReadsNothing(t *testing.T) {
	l := launchRemoteAgent(t)
	l.hello(time.Second)
	until(t, "the guard", l.guarded)
	guard := l.guardPID()
	syscall.Kill(guard, syscall.SIGSTOP)
	pipe, err := syscall.Open(fmt.Sprintf("/proc/%d/fd/0", guard), syscall.O_WRONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = syscall.Write(pipe, []byte("\n"))
	}
	syscall.Close(pipe)
	pids := l.start(sh(3, `sleep 1000`))
	syscall.Kill(pids[0], syscall.SIGKILL)
	l.exited(1)
	l.sendID(KindKill, 0)
	l.exited(3)
	l.bye()
	until(t, "the guard to go", func() bool { return syscall.Kill(guard, 0) == syscall.ESRCH })
}

// TestGuardHearsWholeLines has an agent die in the midst of a line: what is left of a session's number is another's.
func TestGuardHearsWholeLines(t *testing.T) {
	sleep := func() *exec.Cmd {
		cmd := exec.Command("/bin/sleep", "1000")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill() })
		return cmd
	}
	ours, other := sleep(), sleep()
	guard := exec.Command(os.Args[0], "guard")
	guard.Env = append(os.Environ(), guardedJob+"="+testJob+"ff", guardedNode+"=0")
	in, err := guard.StdinPipe()
	if err == nil {
		err = guard.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(in, "session %d\nsession %d", ours.Process.Pid, other.Process.Pid)
	in.Close()
	if err := guard.Wait(); err != nil {
		t.Error(err)
	}
	if ours.Wait(); ours.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("what the agent has left ended with %v", ours.ProcessState)
	}
	if p, err := readProcess(other.Process.Pid, make([]byte, 512)); err != nil || p.zombie {
		t.Error("the guard has killed what it was not told of")
	}
}

// TestGuardAgain has no file left for a guard when it is to start: it starts later, and has missed nothing.
func TestGuardAgain(t *testing.T) {
	dir := t.TempDir()
	l := launchAgent(t, "PPRUN_CACHE="+dir)
	l.hello(time.Second)
	if err := l.conn.SendValue(frame.Header{Kind: KindStage, ID: 1}, programStage(make([]byte, 1<<20))); err != nil {
		t.Fatal(err)
	}
	partial := func() bool { found, _ := filepath.Glob(dir + "/*/.*"); return len(found) > 0 }
	until(t, "the partial file", partial)
	before := l.limitFiles(2) // for a pipe
	time.Sleep(2 * guardAfterHello)
	if err := unix.Prlimit(l.cmd.Process.Pid, unix.RLIMIT_NOFILE, &before, nil); err != nil {
		t.Fatal(err)
	}
	until(t, "the guard", l.guarded)
	syscall.Kill(l.cmd.Process.Pid, syscall.SIGKILL)
	until(t, "the partial file to go", func() bool { return !partial() })
}
