package labtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Exec is a command to run on a host as root (in Loopback mode as the current user): not through ssh, and with a fresh
// environment and the home directory as working directory, whatever Env and Dir say. Args reach the command unchanged,
// its exit status is the command's. Set Stdin, Stdout and Stderr, then start it as usual. Killing the process of the
// Cmd kills the command with SIGKILL; to send it any other signal use Signal. A terminal or process group of the Cmd is
// the command's too. A command that dies of HUP, INT, QUIT or TERM has exit status 1. Exec may be called from any
// goroutine while the host is up.
func (l *Lab) Exec(host, name string, args ...string) *exec.Cmd {
	l.t.Helper()
	return l.command(append([]string{"exec", host, name}, args...)...)
}

// ExecUser is Exec as another user: one of Config.Users (in UserNS mode only alice, in Loopback mode none).
func (l *Lab) ExecUser(host, user, name string, args ...string) *exec.Cmd {
	l.t.Helper()
	return l.command(append([]string{"exec", host, "-u", user, name}, args...)...)
}

// Output runs a command on a host as root and returns its standard output without the last newline. It is fatal if the
// command fails.
func (l *Lab) Output(host, name string, args ...string) string {
	l.t.Helper()
	out, err := l.Exec(host, name, args...).Output()
	if err != nil {
		why := ""
		if exit, ok := err.(*exec.ExitError); ok {
			why = string(exit.Stderr)
		}
		l.t.Fatalf("labtest: %s on %s: %v: %s", name, host, err, why)
	}
	return strings.TrimSuffix(string(out), "\n")
}

// Signal sends a signal to the command that a started Cmd of Exec runs on its host, as kill there would.
func Signal(cmd *exec.Cmd, s syscall.Signal) error {
	pid, err := commandPid(cmd.Process.Pid)
	if err != nil {
		return err
	}
	return syscall.Kill(pid, s)
}

// commandPid finds the command behind the lab script's process, which becomes nsenter, whose one child becomes the
// command (in Loopback mode it becomes the command itself).
func commandPid(pid int) (int, error) {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		switch programOf(pid) {
		case "":
			return 0, fmt.Errorf("labtest: signal: process %d has ended", pid)
		case "bash", "nsenter":
			children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
			child, err := strconv.Atoi(strings.TrimSpace(string(children)))
			if err != nil || programOf(pid) != "nsenter" {
				continue
			}
			switch programOf(child) {
			case "nsenter", "setpriv", "unshare", "env": // on its way to the command
			default:
				return child, nil
			}
		case "setpriv", "env":
		default:
			return pid, nil
		}
	}
	return 0, fmt.Errorf("labtest: signal: process %d has not started its command", pid)
}

func programOf(pid int) string {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return ""
	}
	return filepath.Base(exe)
}
