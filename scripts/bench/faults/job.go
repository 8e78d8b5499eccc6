package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pprun/pprun/scripts/bench/bench"
)

// job is one run of pprun.
type job struct {
	bed    *bed
	mark   []byte // in the environment of pprun and of ranks
	cmd    *exec.Cmd
	stdout *os.File
	began  chan struct{} // closed when all ranks are up
	ended  chan struct{} // closed when pprun has ended

	mu      sync.Mutex // guards what follows
	line    string     // pprun's first word about the fault
	at      time.Time  // when it was said
	hurt    bool       // the fault has been injected
	endedAt time.Time
}

// harm injects the fault once all ranks are up, and returns when that was.
func (j *job) harm(f fault) (at time.Time, err error) {
	select {
	case <-j.began:
	case <-j.ended:
		return at, errors.New("it ended before its time")
	case <-time.After(limit):
		return at, errors.New("it does not begin")
	}
	time.Sleep(100 * time.Millisecond) // the guards begin 50 ms after the agents
	j.mu.Lock()
	j.hurt = true
	j.mu.Unlock()
	at = time.Now()
	err = f.inject(j)
	if f.slow {
		at = time.Now() // it takes scripts/lab its time to do that
	}
	return at, err
}

// listen notes when pprun first says something after the fault.
func (j *job) listen(words io.Reader) {
	for lines := bufio.NewScanner(words); lines.Scan(); {
		j.mu.Lock()
		if text, ok := strings.CutPrefix(lines.Text(), "pprun: "); ok && j.hurt && j.line == "" {
			j.line, j.at = text, time.Now()
		}
		j.mu.Unlock()
	}
}

// count waits until every rank has said that it is up.
func (j *job) count(out io.Reader) {
	n := 0
	for lines := bufio.NewScanner(out); n < ranks && lines.Scan(); {
		if lines.Text() == "ready" {
			n++
		}
	}
	if n == ranks {
		close(j.began)
	}
}

func (j *job) word() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.line
}

// until waits for something.
func (j *job) until(what string, is func() bool) error {
	for end := time.Now().Add(limit); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("still no %s", what)
		}
	}
	return nil
}

// stop ends what is left of the job.
func (j *job) stop() {
	for _, p := range j.processes() {
		syscall.Kill(p.PID, syscall.SIGKILL)
	}
	j.stdout.Close()
	<-j.ended
	j.until("end of all processes", func() bool { return len(j.processes()) == 0 })
}

// processes are those of the job: no host runs another.
func (j *job) processes() (all []bench.Process) {
	for _, p := range j.bed.lab.Processes() {
		if bytes.Contains(p.Env, j.mark) || isAgent(p) || len(p.Args) > 1 && p.Args[1] == "guard" {
			all = append(all, p)
		}
	}
	return all
}

func isAgent(p bench.Process) bool { return len(p.Args) > 1 && p.Args[1] == "agent" }

// find finds one process of the job.
func (j *job) find(what string, is func(bench.Process) bool) (pid int, err error) {
	for _, p := range j.bed.lab.Processes() {
		if is(p) {
			return p.PID, nil
		}
	}
	return 0, fmt.Errorf("no %s among the processes", what)
}

// signal signals one process of the job.
func (j *job) signal(s syscall.Signal, what string, is func(bench.Process) bool) error {
	pid, err := j.find(what, is)
	if err != nil {
		return err
	}
	return syscall.Kill(pid, s)
}

// rank signals a rank.
func (j *job) rank(s syscall.Signal, rank int) error {
	variable := fmt.Appendf(nil, "PPRUN_RANK=%d\x00", rank)
	return j.signal(s, fmt.Sprint("rank ", rank), func(p bench.Process) bool {
		return bytes.Contains(p.Env, j.mark) && bytes.Contains(p.Env, variable)
	})
}

// pid is pprun's.
func (j *job) pid() (int, error) {
	return j.find("pprun", func(p bench.Process) bool { return p.Args[0] == j.bed.pprun && bytes.Contains(p.Env, j.mark) })
}

// launcher signals pprun.
func (j *job) launcher(s syscall.Signal) error {
	pid, err := j.pid()
	if err != nil {
		return err
	}
	return syscall.Kill(pid, s)
}
