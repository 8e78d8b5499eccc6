package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// awaitEnd waits for the end of a command that has been started. If it does not come the test fails, with what every process
// below the command waits for, and every goroutine of those that are this program: a hang nobody has looked into stays.
func awaitEnd(t *testing.T, cmd *exec.Cmd, stderr fmt.Stringer) {
	t.Helper()
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	select {
	case <-ended:
		return
	case <-time.After(time.Minute):
	}
	family := below(cmd.Process.Pid)
	var kernel strings.Builder
	for _, pid := range family {
		kernel.WriteString(waits(pid))
	}
	for _, pid := range family {
		if isGo(pid) {
			syscall.Kill(pid, syscall.SIGABRT) // QUIT is passed on to the ranks
		}
	}
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
	}
	t.Fatalf("%v does not end; its processes:\n%s\nit says:\n%s", cmd.Args, &kernel, stderr)
}

// below are a process and all that it has started, and they.
func below(pid int) []int {
	all := []int{pid}
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, path := range lists {
		children, _ := os.ReadFile(path)
		for _, child := range strings.Fields(string(children)) {
			if n, err := strconv.Atoi(child); err == nil {
				all = append(all, below(n)...)
			}
		}
	}
	return all
}

// waits says what the threads of a process wait for.
func waits(pid int) string {
	var b strings.Builder
	line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	fmt.Fprintf(&b, "%d %q\n", pid, strings.ReplaceAll(string(line), "\x00", " "))
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	for _, dir := range threads {
		status, _ := os.ReadFile(dir + "/status")
		_, state, _ := strings.Cut(string(status), "State:\t")
		state, _, _ = strings.Cut(state, "\n")
		call, _ := os.ReadFile(dir + "/syscall")
		stack, _ := os.ReadFile(dir + "/stack") // root may
		fmt.Fprintf(&b, "  %s %s, call %s%s", filepath.Base(dir), state, call, stack)
	}
	return b.String()
}

// isGo says whether a process runs this program.
func isGo(pid int) bool {
	own, err := os.Stat("/proc/self/exe")
	if err != nil {
		return false
	}
	other, err := os.Stat(fmt.Sprintf("/proc/%d/exe", pid))
	return err == nil && other.Size() == own.Size() // hosts have a copy
}
