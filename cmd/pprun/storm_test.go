//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A remote is a job on a host of its own that is this machine, reached by a command in place of ssh, and all it can leave
// behind.
type remote struct {
	t      *testing.T
	dir    string // of what the job's processes tell the test
	traces []string
	mark   string // in the environment of the job's processes
	cmd    *exec.Cmd
	stderr said
}

// onRemote starts pprun in a job for which ssh is a line of a shell that has the command in $2.
func onRemote(t *testing.T, cache, ssh string, args ...string) *remote {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	short, err := os.MkdirTemp("", "storm") // for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(short) })
	via := filepath.Join(dir, "via")
	if err := os.WriteFile(via, []byte(ssh), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &remote{t: t, dir: dir, traces: []string{short}, mark: "STORM=" + dir}
	r.cmd = exec.Command(exe, append([]string{"-q", "--ssh", "sh " + via}, args...)...)
	r.cmd.Env = append(os.Environ(), "PPRUN_TEST_MAIN=1", "GORACE=atexit_sleep_ms=0", r.mark, "D="+dir, "PPRUN_CACHE="+cache, "TMPDIR="+short, "XDG_RUNTIME_DIR="+short)
	r.cmd.Stderr = &r.stderr
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.cmd.Process.Kill(); r.cmd.Wait() })
	return r
}

// until waits for something.
func (r *remote) until(what string, is func() bool) { r.t.Helper(); until(r.t, &r.stderr, what, is) }

// processes are those of the job, but for zombies.
func (r *remote) processes() (all []string) {
	found, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range found {
		env, _ := os.ReadFile(path)
		pid := filepath.Base(filepath.Dir(path))
		if bytes.Contains(env, []byte(r.mark+"\x00")) && state(pid) != "Z" {
			all = append(all, pid)
		}
	}
	return all
}

// ends waits for the end of pprun, and for the job to have left nothing.
func (r *remote) ends() {
	r.t.Helper()
	awaitEnd(r.t, r.cmd, &r.stderr)
	r.until("end of the job's processes", func() bool { return r.processes() == nil })
	for _, dir := range r.traces {
		r.until("end of what is in "+dir, func() bool { left, err := os.ReadDir(dir); return err == nil && len(left) == 0 })
	}
}

// 1,000 signals in a second end a job in whatever phase it is, and nothing of it is left.
func TestSignalStorm(t *testing.T) {
	const ssh = `exec sh -c "$2"`
	cache := t.TempDir()
	warm := onRemote(t, cache, ssh, "--host", "far:1", "true") // copies the agent
	if warm.ends(); warm.cmd.ProcessState.ExitCode() != 0 {
		t.Fatalf("%v:\n%s", warm.cmd.ProcessState, &warm.stderr)
	}
	big := bigScript(t)
	for i, c := range []struct {
		phase string
		ssh   string
		n     string
		args  []string
		begun func(r *remote) func() bool
	}{
		{"resolve", ssh, "2", []string{"sleep", "100"}, func(*remote) func() bool { return func() bool { return true } }},
		{"connect", `touch $D/called; exec sleep 100`, "2", []string{"sleep", "100"}, func(r *remote) func() bool { return there(r.dir, "called") }},
		{"upload", ssh, "2", []string{big}, func(*remote) func() bool { return there(cache, "*/.new-*") }},
		{"start", ssh, "48", []string{"sh", "-c", stormRank}, func(r *remote) func() bool { return there(r.dir, "up.*") }},
		{"run", ssh, "8", []string{"sh", "-c", stormRank}, func(r *remote) func() bool { return ranksUp(r.dir, 8) }},
		{"end", ssh, "4", []string{"sh", "-c", stormEnd}, func(r *remote) func() bool { return there(r.dir, "ending") }},
	} {
		t.Run(c.phase, func(t *testing.T) {
			t.Parallel()
			r := onRemote(t, cache, c.ssh, append([]string{"--host", "far:" + c.n}, c.args...)...)
			r.until("phase", c.begun(r))
			go storm(uint64(i), func(s syscall.Signal) error { return r.cmd.Process.Signal(s) })
			if r.ends(); r.cmd.ProcessState.Success() {
				t.Error("exit status 0")
			}
			t.Logf("%v: %s", r.cmd.ProcessState, &r.stderr)
		})
	}
	t.Cleanup(func() { wantNoneHalfWritten(t, cache) })
}

// The third order to end is obeyed without word from a host, which is named: a stopped agent gives none. Once it goes on
// it ends what is there.
func TestThirdInterruptLeaves(t *testing.T) {
	r := onRemote(t, t.TempDir(), `exec setsid -w sh -c 'echo $$ >$D/agent; exec sh -c "$1"' sh "$2"`, "--host", "far:2", "--grace", "10m", "sh", "-c",
		`trap "" INT TERM HUP; echo $$ >$D/up.$PPRUN_RANK; while :; do sleep 0.05; done`)
	r.until("ranks", there(r.dir, "up.1"))
	pid, err := os.ReadFile(filepath.Join(r.dir, "agent"))
	if err != nil {
		t.Fatal(err)
	}
	var agent int
	if _, err := fmt.Sscan(string(pid), &agent); err != nil {
		t.Fatal(err)
	}
	syscall.Kill(agent, syscall.SIGSTOP)
	defer syscall.Kill(agent, syscall.SIGCONT)
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} { // of one kind several that wait are one
		r.cmd.Process.Signal(s)
	}
	r.cmd.Wait()
	status := r.cmd.ProcessState.ExitCode()
	first := unix.SignalName(syscall.Signal(status - 128)) // the system delivers them in whatever order
	result{stderr: r.stderr.String(), status: status}.want(t, status,
		`^pprun: far: did not confirm that nothing is left there: look for the job's processes\npprun: ended by `+first+`: 2 ranks ended\n$`)
	if err := syscall.Kill(agent, syscall.SIGCONT); errors.Is(err, syscall.ESRCH) {
		t.Error("the agent had ended")
	}
	r.until("end of the job's processes", func() bool { return r.processes() == nil })
}

// So it is where nobody reads what pprun has to say.
func TestThirdInterruptLeavesThoughNobodyReads(t *testing.T) {
	full := fullPipe(t)
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := &remote{t: t, dir: dir, cmd: exec.Command(exe, "-n", "1", "sh", "-c", "touch "+dir+"/up.0; exec sleep 100")}
	r.cmd.Env = append(os.Environ(), "PPRUN_TEST_MAIN=1", "GORACE=atexit_sleep_ms=0")
	r.cmd.Stderr = full
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.cmd.Process.Kill() })
	r.until("rank", ranksUp(r.dir, 1))
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		r.cmd.Process.Signal(s)
	}
	awaitEnd(t, r.cmd, &r.stderr)
	if status := r.cmd.ProcessState.ExitCode(); status < 128 {
		t.Errorf("exit status %d", status)
	}
}

// fullPipe is the writing end of a pipe that takes nothing more.
func fullPipe(t *testing.T) *os.File {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	for err := error(nil); err == nil; {
		_, err = unix.Write(fds[1], make([]byte, unix.Getpagesize()))
	}
	unix.SetNonblock(fds[1], false) // for whoever gets it
	unread, full := os.NewFile(uintptr(fds[0]), "unread"), os.NewFile(uintptr(fds[1]), "full")
	t.Cleanup(func() { unread.Close(); full.Close() })
	return full
}
