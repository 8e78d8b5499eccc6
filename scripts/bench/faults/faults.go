package main

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pprun/pprun/scripts/bench/bench"
)

// fault is one way to hurt a job.
type fault struct {
	id, name string
	verb     string             // what its ranks do
	flags    []string           // of pprun
	prepare  func(b *bed) error // before the job begins
	inject   func(j *job) error
	restore  func(b *bed) error // after it has ended
	status   int                // of pprun; -1: a signal ended it; or anyStatus
	goesOn   bool               // the job survives it
	slow     bool               // inject itself takes long
	long     bool               // so does the job to notice
}

// anyStatus is for a job that may end in several ways.
const anyStatus = -2

var faults = []fault{
	{id: "F1", name: "a rank exits with 3", verb: "wait", status: 3, inject: func(j *job) error { return j.rank(syscall.SIGUSR1, 5) }},
	{id: "F2", name: "kill -9 of a rank", verb: "wait", status: 137, inject: func(j *job) error { return j.rank(syscall.SIGKILL, 5) }},
	{id: "F2", name: "the same, all heed no TERM, --grace 1s", verb: "stubborn", flags: []string{"--grace", "1s"}, status: 137,
		inject: func(j *job) error { return j.rank(syscall.SIGKILL, 5) }},
	{id: "F2", name: "kill -9 of a rank that serves: redone", verb: "serve", goesOn: true, inject: func(j *job) error { return j.rank(syscall.SIGKILL, 5) }},
	{id: "F4", name: "a rank eats the 300 MB of its host", verb: "wait", status: 137, prepare: confine, inject: func(j *job) error { return j.rank(syscall.SIGUSR2, 5) }, restore: release},
	{id: "F9", name: "kill -9 of rank 0, the hub", verb: "wait", status: 137, inject: func(j *job) error { return j.rank(syscall.SIGKILL, 0) }},
	{id: "F10", name: "kill -9 of pprun", verb: "wait", status: -1, inject: func(j *job) error { return j.launcher(syscall.SIGKILL) }},
	{id: "F10", name: "its terminal is closed (HUP)", verb: "wait", status: 129, inject: func(j *job) error { return j.launcher(syscall.SIGHUP) }},
	{id: "F11", name: "kill -9 of a host's sshd session", verb: "wait", status: 125, inject: func(j *job) error {
		return j.signal(syscall.SIGKILL, "sshd session", func(p bench.Process) bool {
			return p.Host == "node4" && strings.HasPrefix(p.Args[0], "sshd") && strings.Contains(p.Args[0], "@")
		})
	}},
	{id: "F12", name: "kill -9 of an agent", verb: "wait", status: 125, inject: func(j *job) error {
		return j.signal(syscall.SIGKILL, "agent", func(p bench.Process) bool { return p.Host == "node3" && isAgent(p) })
	}},
	{id: "F17", name: "kill -STOP of a rank: told, not ended", verb: "serve", goesOn: true, inject: func(j *job) error { return j.rank(syscall.SIGSTOP, 5) }},
	{id: "F24", name: "Ctrl-C", verb: "wait", status: 130, inject: func(j *job) error { return j.launcher(syscall.SIGINT) }},
	{id: "F24", name: "Ctrl-C twice, all heed neither INT nor TERM", verb: "stubborn", status: 130, inject: func(j *job) error {
		if err := j.launcher(syscall.SIGINT); err != nil {
			return err
		}
		time.Sleep(10 * time.Millisecond) // two that wait would be one
		return j.launcher(syscall.SIGINT)
	}},
	{id: "F24", name: "1,000 INT, TERM, HUP, WINCH and USR1 in a second", verb: "wait", status: anyStatus, inject: storm},
	{id: "F27", name: "the reader of its output leaves", verb: "talk", status: 141, inject: func(j *job) error { return j.stdout.Close() }},
	{id: "F31", name: "TERM, from a batch system", verb: "wait", status: 143, inject: func(j *job) error { return j.launcher(syscall.SIGTERM) }},
	{id: "F5", name: "a host loses its power", verb: "wait", status: 125, slow: true, long: true,
		inject:  func(j *job) error { return j.bed.lab.Do("crash", "node2") },
		restore: func(b *bed) error { return b.lab.Do("boot", "node2") }},
	{id: "F5", name: "the same, --heartbeat-timeout 3s", verb: "wait", flags: []string{"--heartbeat-timeout", "3s"}, status: 125, slow: true, long: true,
		inject:  func(j *job) error { return j.bed.lab.Do("crash", "node2") },
		restore: func(b *bed) error { return b.lab.Do("boot", "node2") }},
	{id: "F6", name: "a host loses its network", verb: "wait", status: 125, slow: true, long: true,
		inject:  func(j *job) error { return j.bed.lab.Do("drop", "node2", "both") },
		restore: func(b *bed) error { return b.lab.Do("undrop", "node2") }},
	{id: "F8", name: "a host hears nothing, and is heard", verb: "wait", status: 125, slow: true, long: true,
		inject:  func(j *job) error { return j.bed.lab.Do("drop", "node2", "in") },
		restore: func(b *bed) error { return b.lab.Do("undrop", "node2") }},
	{id: "F30", name: "a host loses its power and is back at once", verb: "wait", status: 125, slow: true, long: true, inject: func(j *job) error {
		if err := j.bed.lab.Do("crash", "node2"); err != nil {
			return err
		}
		return j.bed.lab.Do("boot", "node2")
	}},
}

// storm sends signals until pprun has ended, or for a second.
func storm(j *job) error {
	all := []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGWINCH, syscall.SIGUSR1}
	pid, err := j.pid()
	for n := 0; n < 1000 && err == nil; n++ {
		select {
		case <-j.ended:
			return nil
		default:
		}
		syscall.Kill(pid, all[rand.IntN(len(all))])
		time.Sleep(time.Millisecond)
	}
	return err
}

// group is a memory control group for what runs on a host.
const group = "/sys/fs/cgroup/memory/bench-faults"

// confine gives the host of rank 5 no more than 300 MB.
func confine(b *bed) error {
	if err := os.MkdirAll(group, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(group, "memory.limit_in_bytes"), []byte("300M"), 0); err != nil {
		return err
	}
	if err := move(b, group); err != nil {
		return err
	}
	return b.lab.Do("exec", "node3", "sh", "-c", // hosts do not have it, and the agent looks there
		"mount -t tmpfs tmpfs /sys/fs/cgroup && mkdir /sys/fs/cgroup/memory && mount -t cgroup -o memory cgroup /sys/fs/cgroup/memory")
}

func release(b *bed) error {
	if err := b.lab.Do("exec", "node3", "umount", "/sys/fs/cgroup/memory", "/sys/fs/cgroup"); err != nil {
		return err
	}
	if err := move(b, filepath.Dir(group)); err != nil {
		return err
	}
	return os.Remove(group)
}

func move(b *bed, group string) error {
	for _, p := range b.lab.Processes() {
		if p.Host == "node3" {
			if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(p.PID)), 0); err != nil {
				return err
			}
		}
	}
	return nil
}
