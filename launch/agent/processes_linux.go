package agent

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxRSSUnit is the unit of Rusage.Maxrss in bytes.
const maxRSSUnit = 1 << 10

// process is a line of the process table.
type process struct {
	pid, parent, session int
	zombie               bool
	stopped              bool // by a signal or a debugger
	exiting              bool // it has begun to end, or is a zombie
}

// processes reads the process table, except what ends meanwhile. Without a free file there is an error and no table.
func processes() ([]process, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	ps := make([]process, 0, len(names))
	buf := make([]byte, 512)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		switch p, err := readProcess(pid, buf); {
		case err == nil:
			ps = append(ps, p)
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
			return nil, err
		}
	}
	return ps, nil
}

// readProcess reads the first fields of /proc/PID/stat (proc_pid_stat(5)): pid (command) state ppid pgrp session tty
// tpgid flags.
func readProcess(pid int, buf []byte) (process, error) {
	fd, err := syscall.Open("/proc/"+strconv.Itoa(pid)+"/stat", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return process{}, err
	}
	defer syscall.Close(fd)
	n, err := syscall.Read(fd, buf)
	if err != nil {
		return process{}, err
	}
	end := bytes.LastIndexByte(buf[:n], ')') // the command may hold anything
	if end < 0 {
		return process{}, errNoProcess
	}
	f := bytes.Fields(buf[end+1 : n])
	if len(f) < 7 {
		return process{}, errNoProcess
	}
	p := process{pid: pid, zombie: f[0][0] == 'Z' || f[0][0] == 'X', stopped: f[0][0] == 'T' || f[0][0] == 't'}
	p.parent, _ = strconv.Atoi(string(f[1]))
	p.session, _ = strconv.Atoi(string(f[3]))
	flags, _ := strconv.ParseUint(string(f[6]), 10, 64)
	p.exiting = p.zombie || flags&pfExiting != 0
	return p, nil
}

var errNoProcess = errors.New("not the line of a process")

const pfExiting = 4 // PF_EXITING of the kernel's sched.h

// exiting says whether a process has begun to end: its connections may be closed, but nobody can wait for it yet.
func exiting(pid int) bool {
	p, err := readProcess(pid, make([]byte, 512))
	return err == nil && p.exiting
}

// stopped says whether a process is.
func stopped(pid int) bool {
	p, err := readProcess(pid, make([]byte, 512))
	return err == nil && p.stopped
}

// job returns the processes of the job: all descendants of the agent but the guard.
func (a *agent) job() ([]int, error) {
	ps, err := processes()
	if err != nil {
		return nil, err
	}
	of := make(map[int][]process, len(ps))
	for _, p := range ps {
		of[p.parent] = append(of[p.parent], p)
	}
	var pids []int
	for next := []int{os.Getpid()}; len(next) > 0; {
		children := of[next[0]]
		next = next[1:]
		for _, p := range children {
			if p.pid == a.guard.pid() {
				continue
			}
			if !p.zombie {
				pids = append(pids, p.pid)
			}
			next = append(next, p.pid)
		}
	}
	return pids, nil
}

// signalAll signals every process of the job. An agent that has no file left to find them signals the ranks' process
// groups, of which files come free as they end.
func (a *agent) signalAll(s syscall.Signal) {
	pids, err := a.job()
	if err != nil {
		a.signalRanks(s)
	}
	for _, pid := range pids {
		syscall.Kill(pid, s)
	}
}

func (a *agent) signalRanks(s syscall.Signal) {
	for _, r := range a.all() {
		if pid := int(r.pid.Load()); pid != 0 && r.alive() {
			syscall.Kill(-pid, s)
		}
	}
}

// left says whether a process of the job is left. Without a child of the agent there is none: it adopts orphans.
func (a *agent) left() bool {
	if unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil) == unix.ECHILD {
		return false
	}
	pids, err := a.job()
	return err != nil || len(pids) > 0
}

// sweep kills what an agent that is gone has left: members of the sessions it had made (by leader: whether that has
// ended), and processes whose environment began with all of the marks. It returns whether it found one, or could not look.
func sweep(sessions map[int]bool, marks [][]byte) (found bool) {
	self := os.Getpid()
	ps, err := processes()
	if err != nil {
		return true
	}
	for _, p := range ps {
		if sessions[p.pid] { // a number is used again only when its session is empty
			delete(sessions, p.pid)
		}
	}
	for _, p := range ps {
		if p.pid == self || p.zombie {
			continue
		}
		if _, ours := sessions[p.session]; ours || marked(p.pid, marks) {
			found = syscall.Kill(p.pid, syscall.SIGKILL) == nil || found
		}
	}
	return found
}

// marked says whether each of the marks (NAME=value) is a variable of the process. Other users' processes never are.
func marked(pid int, marks [][]byte) bool {
	env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil || len(env) == 0 {
		return false
	}
	vars := bytes.Split(env, []byte{0})
	for _, m := range marks {
		if !slices.ContainsFunc(vars, func(v []byte) bool { return bytes.Equal(v, m) }) {
			return false
		}
	}
	return true
}
