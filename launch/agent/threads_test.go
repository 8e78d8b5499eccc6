//go:build linux

package agent

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// An agent whose ranks have used up the processes that their user may have goes on, and ends them in order.
func TestNoProcessLeft(t *testing.T) {
	if most := OwnLimits().Processes; most > 0 && most < 1000 {
		t.Logf("only %d processes are allowed here: threads are not made before they are needed", most)
		return
	}
	const nobody = 65534
	root := os.Geteuid() == 0 // whom no limit holds
	cmd := agentCommand(nil, "--fd", "3")
	if root {
		exe, err := os.Open(cmd.Path) // where only root may look
		if err != nil {
			t.Fatal(err)
		}
		defer exe.Close()
		cmd.ExtraFiles, cmd.Path = []*os.File{exe}, "/proc/self/fd/4"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	l := launchCommand(t, cmd)
	l.hello(time.Second)
	const ranks, words = 8, 100000
	s := sh(ranks, `setsid sleep 1000 >/dev/null 2>&1 & wc -w; seq 20000; exec sleep 1000`)
	s.Ranks[1].Stdin = StdinForward
	l.start(s)
	until(t, "the guard", l.guarded)
	limited := make(chan error)
	go func() {
		runtime.LockOSThread() // which ends its thread with it
		if root {              // not every root may limit others
			unix.RawSyscall(unix.SYS_SETRESGID, nobody, nobody, nobody)
			unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody)
		}
		limited <- unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_NPROC, &unix.Rlimit{Cur: 1, Max: 1}, nil)
	}()
	if err := <-limited; err != nil {
		t.Fatal(err)
	}
	l.feed(1, bytes.Repeat([]byte("word\n"), words))
	l.wait("all output", func() bool {
		done := 0
		for i, out := range l.out {
			read := 0
			if i == 1 {
				read = words
			}
			if text := out.String(); strings.HasPrefix(text, fmt.Sprintf("%d\n1\n", read)) && strings.HasSuffix(text, "\n20000\n") {
				done++
			}
		}
		return done == ranks
	})
	l.sendID(KindKill, 1000)
	for i, x := range l.exited(ranks) {
		if x.Signal != int(syscall.SIGTERM) || !x.Killed {
			t.Errorf("rank %d: %+v", i, x)
		}
	}
	l.bye()
}
