//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is pprun on a terminal of its own, at which the test sits.
type terminal struct {
	t      *testing.T
	master *os.File
	cmd    *exec.Cmd
	mu     sync.Mutex
	output bytes.Buffer  // guarded by mu: what the terminal shows
	ended  chan struct{} // closed when the terminal is
}

// atTerminal starts a program, by default pprun, as the leader of a terminal's session.
func atTerminal(t *testing.T, args ...string) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	raw, err := master.SyscallConn() // not Fd, after which Close would not end a Read
	if err != nil {
		t.Fatal(err)
	}
	var n int
	raw.Control(func(fd uintptr) {
		if n, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN); err == nil {
			err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	defer tty.Close()
	s := &terminal{t: t, master: master, ended: make(chan struct{})}
	s.cmd = exec.Command(args[0], args[1:]...)
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = tty, tty, tty
	s.cmd.Env = append(os.Environ(), "PPRUN_TEST_MAIN=1")
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.ended)
		b := make([]byte, 4096)
		for {
			n, err := master.Read(b)
			s.mu.Lock()
			s.output.Write(b[:n])
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		s.cmd.Wait()
		master.Close()
		<-s.ended
	})
	return s
}

// pprun starts pprun at a terminal.
func pprun(t *testing.T, args ...string) *terminal {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return atTerminal(t, append([]string{exe}, args...)...)
}

func (s *terminal) shown() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.output.String()
}

func (s *terminal) write(keys string) {
	s.t.Helper()
	if _, err := s.master.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

// await waits until the terminal shows the pattern so many times, and returns its last group of each.
func (s *terminal) await(pattern string, times int) []string {
	s.t.Helper()
	r := regexp.MustCompile(pattern)
	var found []string
	s.until(fmt.Sprintf("%q %d times", pattern, times), func() bool {
		found = nil
		for _, m := range r.FindAllStringSubmatch(s.shown(), -1) {
			found = append(found, m[len(m)-1])
		}
		return len(found) >= times
	})
	return found
}

func (s *terminal) until(what string, is func() bool) {
	s.t.Helper()
	for end := time.Now().Add(eventually); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("still no %s; the terminal shows:\n%s", what, s.shown())
		}
	}
}

// exit waits for the end and checks the status.
func (s *terminal) exit(want int) {
	s.t.Helper()
	done := make(chan struct{})
	go func() { s.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(eventually):
		s.t.Fatalf("it does not end; the terminal shows:\n%s", s.shown())
	}
	if got := s.cmd.ProcessState.ExitCode(); got != want {
		s.t.Errorf("exit status %d, want %d; the terminal shows:\n%s", got, want, s.shown())
	}
}

// stat is the field i of /proc/PID/stat, counted from that behind the name; empty when there is no such process.
func stat(pid string, i int) string {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return ""
	}
	after := string(b[bytes.LastIndexByte(b, ')')+1:])
	return strings.Fields(after)[i]
}

// state is the letter by which ps calls what a process does; empty when there is none.
func state(pid string) string { return stat(pid, 0) }

// stopped says whether a process is stopped, or waits in vfork for a child that is.
func stopped(pid string) bool { s := state(pid); return s == "T" || s == "D" }

// parentOf is the pid of a process's parent.
func parentOf(pid string) string { return stat(pid, 1) }

// gone says whether none of the processes runs.
func gone(pids []string) bool {
	for _, p := range pids {
		if s := state(p); s != "" && s != "Z" {
			return false
		}
	}
	return true
}

const (
	ctrlC = "\x03"
	ctrlD = "\x04"
	ctrlZ = "\x1a"
)

func TestCtrlCLetsRanksEndInOrder(t *testing.T) {
	s := pprun(t, "-q", "-n", "2", "sh", "-c", `trap 'echo tidy $PPRUN_RANK; exit 0' INT; echo pid=$$.; while :; do sleep 0.05; done`)
	pids := s.await(`pid=(\d+)\.`, 2)
	s.write(ctrlC)
	s.await(`tidy \d`, 2)
	s.await(`pprun: ended by SIGINT`, 1)
	s.exit(130)
	if !gone(pids) {
		t.Error("ranks are left")
	}
}

func TestCtrlCTwiceKillsAtOnce(t *testing.T) {
	s := pprun(t, "-q", "--grace", "10m", "-n", "2", "sh", "-c", `trap 'echo no.' INT; trap '' TERM; echo pid=$$.; while :; do sleep 0.05; done`)
	pids := s.await(`pid=(\d+)\.`, 2)
	s.write(ctrlC)
	s.await(`no\.`, 2)
	s.write(ctrlC)
	s.exit(130)
	if !gone(pids) {
		t.Error("ranks are left")
	}
}

func TestCtrlZStopsAllAndContinues(t *testing.T) {
	s := pprun(t, "-q", "-n", "2", "sh", "-c", `echo pid=$$.; while :; do echo tick; sleep 0.05; done`)
	pids := s.await(`pid=(\d+)\.`, 2)
	launcher := strconv.Itoa(s.cmd.Process.Pid)
	all := append([]string{launcher}, pids...)
	for range 3 {
		s.write(ctrlZ)
		for _, p := range all {
			s.until("stop of "+p, func() bool { return stopped(p) })
		}
		ticks := strings.Count(s.shown(), "tick")
		s.cmd.Process.Signal(syscall.SIGCONT)
		s.await("tick", ticks+3)
		for _, p := range all {
			s.until("going on of "+p, func() bool { return state(p) != "T" })
		}
	}
	s.write(ctrlC)
	s.exit(130)
}

// Under a shell with job control a job is stopped and brought back ten times, and put into the background of a terminal
// that stops who writes there from it: its result is right, and nothing stops it but Ctrl-Z.
func TestJobControl(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	j := &tasking{dir: t.TempDir()}
	s := atTerminal(t, bash, "--norc", "-i")
	s.write("stty tostop\nPPRUN_TEST_MAIN=1 " + exe + " -H localhost:3 --stdin all " + exe + " tasking " + j.dir + "\n")
	var pids []string
	for rank := range 3 {
		pids = append(pids, j.busy(t, rank))
	}
	pids = append(pids, parentOf(parentOf(pids[0]))) // pprun
	for i := range 10 {
		s.write(ctrlZ)
		for _, p := range pids {
			s.until("stop of "+p, func() bool { return stopped(p) })
		}
		if i < 9 {
			s.write("fg\n")
		} else {
			s.write("bg\n")
		}
		for _, p := range pids {
			s.until("going on of "+p, func() bool { return state(p) != "T" })
		}
	}
	s.write("echo $((6 * 7))\n") // goes to the shell
	s.await(`[\r\n]42\r`, 1)
	if err := os.WriteFile(filepath.Join(j.dir, "go"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	s.await(`\[0 1 4 9 16 .* 361\]`, 1)
	s.write("wait; echo right $?\n")
	s.await(`[\r\n]right 0\r`, 1)
	if !gone(pids) {
		t.Error("processes are left")
	}
}

func TestTerminalReachesRank0(t *testing.T) {
	s := pprun(t, "-n", "2", "sh", "-c", `if [ $PPRUN_RANK = 0 ]; then test -t 0 && echo terminal; read x; echo "got $x"; else wc -c; fi`)
	s.await(`2 ranks on 1 node \(.*:2\), up in`, 1)
	s.await("terminal", 1)
	s.write("hello\n")
	s.await("got hello", 1)
	s.exit(0)
}

func TestForwardedTerminalEnds(t *testing.T) {
	s := pprun(t, "-q", "-n", "2", "--stdin", "all", "sh", "-c", `while read x; do echo "$PPRUN_RANK has $x"; done; echo end`)
	s.write("one\n")
	s.await(`\d has one`, 2)
	s.write(ctrlD)
	s.await("end", 2)
	s.exit(0)
}

// A rank commands neither the terminal nor the label in front of its lines. In a pipe its bytes are its own.
func TestRanksCommandNoTerminal(t *testing.T) {
	const script = `printf '\r[0] forged\033]52;c;eA==\a\033c \302\233 ü\n'; printf '\033[2J\n' >&2`
	s := pprun(t, "-q", "-l", "-n", "1", "sh", "-c", script)
	s.exit(0)
	s.await(`(?m)^\[0\] \\x1b\[2J\r$`, 1)
	s.await(`(?m)^\[0\] \\x0d\[0\] forged\\x1b\]52;c;eA==\\x07\\x1bc \S*\\x9b ü\r$`, 1)
	if shown := s.shown(); strings.ContainsAny(strings.ReplaceAll(shown, "\r\n", "\n"), "\r\x1b\a") {
		t.Errorf("control characters reach the terminal: %q", shown)
	}
	last := pprun(t, "-q", "-o", t.TempDir()+"/%r", "-n", "1", "sh", "-c", script+"; exit 3")
	last.exit(3)
	last.await(`pprun:   \\x1b\[2J\r`, 1) // its last words, in pprun's
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-q", "-l", "-n", "1", "sh", "-c", script)
	cmd.Env = append(os.Environ(), "PPRUN_TEST_MAIN=1")
	if out, err := cmd.Output(); err != nil || string(out) != "[0] \r[0] forged\x1b]52;c;eA==\a\x1bc \u009b ü\n" {
		t.Errorf("in a pipe: %q, %v", out, err)
	}
}

// In the background a terminal's input belongs to somebody else.
func TestBackgroundReadsNoTerminal(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := atTerminal(t, "sh", "-c", `set -m; "$0" -n 1 cat & wait $!; echo "status $?"`, exe)
	s.await("status 0", 1)
	s.exit(0)
}

func TestSignals(t *testing.T) {
	for _, c := range []struct {
		send   syscall.Signal
		script string
		show   string
		status int
	}{
		{syscall.SIGTERM, `echo ready; while :; do sleep 0.05; done`, `ended by SIGTERM: 1 rank ended`, 143},
		{syscall.SIGHUP, `trap 'exit 3' HUP; echo ready; while :; do sleep 0.05; done`, `ended by SIGHUP`, 129},
		{syscall.SIGUSR1, `trap 'echo usr1; exit 0' USR1; echo ready; while :; do sleep 0.05; done`, `usr1`, 0},
		{syscall.SIGQUIT, `trap 'echo quit; exit 5' QUIT; echo ready; while :; do sleep 0.05; done`, `exit status 5`, 5},
	} {
		t.Run(unix.SignalName(c.send), func(t *testing.T) {
			s := pprun(t, "-q", "-n", "1", "sh", "-c", c.script)
			s.await("ready", 1)
			s.cmd.Process.Signal(c.send)
			s.exit(c.status)
			s.await(c.show, 1)
		})
	}
}

// As with nohup: what is ignored when pprun begins stays so.
func TestIgnoredSignal(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := atTerminal(t, "sh", "-c", `trap "" HUP; exec "$0" -q -n 1 sh -c 'echo ready; read go; echo went'`, exe)
	s.await("ready", 1)
	s.cmd.Process.Signal(syscall.SIGHUP)
	s.write("go\n")
	s.exit(0)
	s.await("went", 1)
}

// Whoever is killed, nothing of the job is left.
func TestKillLeavesNothing(t *testing.T) {
	for _, c := range []struct {
		name, victim string
		status       int
		show         string
	}{
		{"launcher", `$(ps -o ppid= -p $PPID)`, -1, ""},
		{"agent", `$PPID`, 125, `lost \S+: .*: job aborted`},
		{"rank", `$$`, 137, `rank 0 on \S+ \(pid \d+, after \S+\): killed by signal 9 \(SIGKILL\): job aborted`},
	} {
		t.Run(c.name, func(t *testing.T) {
			// The agent's guard follows its ranks into life within moments; a job of that age is meant. The ^ matters: this script is
			// itself an argument of the agent's children.
			script := `until ps -o args= --ppid $PPID | grep -q "^pprun guard"; do sleep 0.01; done; echo pid=$$.; sh -c 'echo pid=$$.; sleep 100' & read go; [ $PPRUN_RANK = 0 ] && kill -9 ` + c.victim + `; wait; sleep 100`
			s := pprun(t, "-q", "-n", "2", "--stdin", "all", "sh", "-c", script)
			pids := s.await(`pid=(\d+)\.`, 4)
			s.write("go\n")
			s.exit(c.status)
			if c.show != "" {
				s.await(c.show, 1)
			}
			s.until("end of all ranks", func() bool { return gone(pids) })
		})
	}
}

// A terminal that is stopped, as by Ctrl-S, keeps nobody from ending pprun.
func TestStoppedTerminal(t *testing.T) {
	dir := t.TempDir()
	via := filepath.Join(dir, "via")
	if err := os.WriteFile(via, []byte("touch "+dir+"/called; exec sleep 100"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := pprun(t, "--ssh", "sh "+via, "--host", "far:1", "true")
	s.write("\x13")
	s.until("call of the command", there(dir, "called"))
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		s.cmd.Process.Signal(sig)
	}
	awaitEnd(t, s.cmd, &said{})
}
