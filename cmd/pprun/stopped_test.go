package main

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// TestStoppedRank stops a process of a job for three times as long as it may be silent: it is missed, and not taken for
// dead, nor is its hub by the others.
func TestStoppedRank(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, rank := range []int{0, 1} {
		t.Run("rank "+strconv.Itoa(rank), func(t *testing.T) {
			t.Parallel()
			j := &tasking{dir: t.TempDir()}
			cmd := exec.Command(exe, "--heartbeat-timeout", "1s", "-H", "localhost:3", exe, "tasking", j.dir)
			cmd.Env = append(os.Environ(), "PPRUN_TEST_MAIN=1", "GORACE=atexit_sleep_ms=0")
			j.start(t, cmd)
			j.busy(t, 2)
			pid, _ := strconv.Atoi(j.busy(t, rank))
			syscall.Kill(pid, syscall.SIGSTOP)
			j.hears(t, 1)
			time.Sleep(3 * time.Second)
			syscall.Kill(pid, syscall.SIGCONT)
			j.hears(t, 2)
			is := `pprun: rank ` + strconv.Itoa(rank) + ` on \S+ `
			j.end(t, 0, `^`+is+`\(pid `+strconv.Itoa(pid)+`\) is stopped: kill -CONT `+strconv.Itoa(pid)+` there lets it go on\n`+is+`goes on\n$`)
		})
	}
}

// TestStoppedLauncher stops pprun itself for longer than agents wait for it, who end their ranks: when it goes on it says why.
func TestStoppedLauncher(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	j := &tasking{dir: t.TempDir()}
	cmd := exec.Command(exe, "--heartbeat-timeout", "1s", "-H", "localhost:2", exe, "tasking", j.dir)
	cmd.Env = append(os.Environ(), "PPRUN_TEST_MAIN=1", "GORACE=atexit_sleep_ms=0")
	j.start(t, cmd)
	pid, _ := strconv.Atoi(j.busy(t, 1))
	syscall.Kill(cmd.Process.Pid, syscall.SIGSTOP)
	for end := time.Now().Add(eventually); syscall.Kill(pid, 0) == nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("its rank does not end")
		}
	}
	syscall.Kill(cmd.Process.Pid, syscall.SIGCONT)
	j.end(t, 125, `^pprun: agent on \S+: the launcher is silent for 1s
pprun: lost \S+: pprun was stopped here, or got no CPU, for \S+, and its agents wait for it no longer than 1s: ranks 0-1 ran there: job aborted
$`)
}
