package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/pprun/pprun/scripts/bench/bench"
)

const (
	limit  = 30 * time.Second // for a launcher to notice, and for the start
	settle = 10 * time.Second // then what is left gets so long to go
)

// outcome is what came of one job.
type outcome struct {
	ended  time.Duration // of the launcher, from the fault; 0: it has not
	status int
	clean  time.Duration  // from the fault until nothing was left; 0: something was, in the end
	left   map[string]int // what that was
}

// harm runs a job, harms it, and looks at what comes of that.
func harm(lab *bench.Lab, l launcher, f fault) (o outcome, err error) {
	before := files(lab)
	cmd, ended, err := begin(lab, l, f.ranks)
	if err != nil {
		return o, err
	}
	defer restore(lab, f, before, ended)
	began := time.Now() // scripts/lab takes its time, which is part of the fault's
	if err := f.inject(lab, l); err != nil {
		return o, err
	}
	select {
	case <-ended:
		o.ended, o.status = time.Since(began), cmd.ProcessState.ExitCode()
	case <-time.After(limit):
	}
	for end := time.Now().Add(settle); ; time.Sleep(20 * time.Millisecond) {
		if o.left = left(lab, l, f, nil); len(o.left) == 0 || time.Now().After(end) {
			break
		}
	}
	if len(o.left) == 0 {
		o.clean = time.Since(began)
	}
	o.left = left(lab, l, f, before)
	return o, nil
}

// begin starts a job and returns when all its ranks run.
func begin(lab *bench.Lab, l launcher, ranks []string) (*exec.Cmd, chan struct{}, error) {
	out, stdout, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer stdout.Close()
	cmd, err := lab.Start(stdout, io.Discard, append(slices.Clone(l.argv), ranks...)...)
	if err != nil {
		return nil, nil, err
	}
	cmd.WaitDelay = time.Second
	ended, up := make(chan struct{}), make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	go func() {
		n := 0
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if lines.Text() != "ready" {
				continue
			}
			if n++; n == 2*hosts {
				close(up)
			}
		}
		out.Close()
	}()
	select {
	case <-up:
		time.Sleep(100 * time.Millisecond) // what is started beside the ranks is there, too
		return cmd, ended, nil
	case <-ended:
		return nil, nil, fmt.Errorf("it ended before its time: %v", cmd.ProcessState)
	case <-time.After(limit):
		return nil, nil, fmt.Errorf("it does not start")
	}
}

// left counts what there is of a job, by kind; files only if they are given as they were before.
func left(lab *bench.Lab, l launcher, f fault, before []string) map[string]int {
	found := map[string]int{}
	for _, p := range lab.Processes() {
		if kind := kindOf(p, l); kind != "" {
			found[kind]++
		}
	}
	if before != nil {
		for _, name := range files(lab) {
			if !slices.Contains(before, name) && !strings.HasPrefix(name, f.dark+":") {
				found["files"]++
			}
		}
	}
	return found
}

// kindOf names what a process is of a job; empty: nothing.
func kindOf(p bench.Process, l launcher) string {
	switch last := p.Args[len(p.Args)-1]; {
	case last == stray:
		return "setsid children"
	case last == child:
		return "children"
	case rank(p):
		return "ranks"
	case l.daemon(p):
		return "daemons"
	case p.Host == "head" && (p.Args[0] == l.argv[0] || strings.HasSuffix(p.Args[0], "/ssh") || p.Args[0] == "ssh"):
		return "launcher's"
	}
	return ""
}

// files lists what lies where jobs leave files, as HOST:PATH.
func files(lab *bench.Lab) (names []string) {
	for _, host := range []string{"head", "node1", "node2", "node3", "node4"} {
		out, _ := lab.Output(host, "find", "/tmp", "/var/tmp", "/dev/shm", "-mindepth", "1") // nothing of one that is off
		for name := range strings.Lines(out) {
			names = append(names, host+":"+strings.TrimSpace(name))
		}
	}
	return names
}

// restore makes the hosts what they were.
func restore(lab *bench.Lab, f fault, before []string, ended chan struct{}) {
	for _, p := range lab.Processes() {
		ours := slices.ContainsFunc(launchersWith("/shared/pprun"), func(l launcher) bool { return kindOf(p, l) != "" })
		if ours || strings.Contains(p.Args[0], "@notty") {
			syscall.Kill(p.PID, syscall.SIGKILL)
		}
	}
	<-ended
	if f.restore != nil {
		f.restore(lab)
		time.Sleep(time.Second) // addresses that did not answer are tried again
	}
	for _, name := range files(lab) {
		if host, path, _ := strings.Cut(name, ":"); !slices.Contains(before, name) {
			lab.Output(host, "rm", "-rf", path)
		}
	}
}
