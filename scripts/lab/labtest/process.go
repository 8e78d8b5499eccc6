package labtest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A Process is one process of a host, as ps there would list it.
type Process struct {
	Pid, PPid int      // in the host's own numbers; PPid is 0 for what Exec started
	State     byte     // R, S, D, T (stopped), Z (zombie)
	Args      []string // its command line; the name in brackets if it has none
}

// Command is the last part of the program's name.
func (p Process) Command() string { return filepath.Base(p.Args[0]) }

func (p Process) String() string {
	return fmt.Sprintf("%d %d %c %s", p.Pid, p.PPid, p.State, strings.Join(p.Args, " "))
}

// Processes lists all processes of a host, its init and sshd among them. A host that is down has none.
func (l *Lab) Processes(host string) []Process {
	l.t.Helper()
	proc, mine := l.proc(host)
	dirs, err := filepath.Glob(filepath.Join(proc, "[0-9]*"))
	if err != nil {
		l.t.Fatal(err)
	}
	var ps []Process
	for _, dir := range dirs {
		if !mine(dir) {
			continue
		}
		if p, ok := readProcess(dir); ok {
			ps = append(ps, p)
		}
	}
	return ps
}

// proc is the /proc in which to look for the host's processes, and which of those there are the host's.
func (l *Lab) proc(host string) (string, func(dir string) bool) {
	home := filepath.Join(l.dir, "h", host)
	if l.mode == Loopback {
		mark := []byte("LAB_HOST=" + home + "\x00")
		return "/proc", func(dir string) bool {
			env, _ := os.ReadFile(filepath.Join(dir, "environ"))
			return bytes.Contains(env, mark)
		}
	}
	return filepath.Join(l.Root(host), "proc"), func(string) bool { return true }
}

// Root is the path at which this machine sees the file system of a host that is up, its /proc included.
func (l *Lab) Root(host string) string {
	if l.mode == Loopback {
		return "/"
	}
	pid, _ := os.ReadFile(filepath.Join(l.dir, "h", host, "pid"))
	f := strings.Fields(string(pid))
	if len(f) != 2 {
		return "/nonexistent"
	}
	if ns, _ := os.Readlink("/proc/" + f[0] + "/ns/pid"); ns != f[1] {
		return "/nonexistent"
	}
	return "/proc/" + f[0] + "/root"
}

// readProcess reads a directory of /proc; the process may end while we look.
func readProcess(dir string) (Process, bool) {
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return Process{}, false
	}
	line := string(stat) // pid (name) state ppid ...; the name may hold blanks and brackets
	open, end := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if open < 0 || end < open {
		return Process{}, false
	}
	f := strings.Fields(line[end+1:])
	if len(f) < 2 {
		return Process{}, false
	}
	p := Process{State: f[0][0]}
	p.Pid, _ = strconv.Atoi(strings.TrimSpace(line[:open]))
	p.PPid, _ = strconv.Atoi(f[1])
	args, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
	if len(args) == 0 {
		p.Args = []string{"[" + line[open+1:end] + "]"}
	} else {
		p.Args = strings.Split(strings.TrimSuffix(string(args), "\x00"), "\x00")
	}
	return p, true
}

// WaitGone waits until no process of the host matches, zombies included. It is an error of the test, which goes on, if
// one still does after the deadline.
func (l *Lab) WaitGone(host string, match func(Process) bool, deadline time.Duration) {
	l.t.Helper()
	for end := time.Now().Add(deadline); ; time.Sleep(20 * time.Millisecond) {
		var left []string
		for _, p := range l.Processes(host) {
			if match(p) {
				left = append(left, p.String())
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			l.t.Errorf("labtest: %s: still there after %v:\n%s", host, deadline, strings.Join(left, "\n"))
			return
		}
	}
}
