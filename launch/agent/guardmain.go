package agent

import (
	"bufio"
	"cmp"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/comm/place"
	"github.com/pprun/pprun/launch/own"
)

// What a guard finds in its environment.
const (
	guardedJob     = "PPRUN_GUARDED"
	guardedNode    = "PPRUN_GUARDED_NODE"
	guardedTimeout = "PPRUN_GUARDED_TIMEOUT" // how long the launcher bears silence
)

// estate is what an agent leaves behind if it does not clean up itself.
type estate struct {
	job, node string
	sessions  map[int]bool // by leader: whether it has ended
	paths     []string
	group     string // empty: there is none
}

// guardMain is the guard's process.
func guardMain() int {
	untilTerm() // a guard ends with its agent, not with a terminal
	e := estate{job: os.Getenv(guardedJob), node: os.Getenv(guardedNode), sessions: map[int]bool{}}
	timeout, _ := time.ParseDuration(os.Getenv(guardedTimeout))
	if !validJob(e.job) {
		return 64
	}
	lines := make(chan string)
	go func() {
		defer close(lines)
		for r := bufio.NewReader(os.Stdin); ; {
			line, err := r.ReadString('\n')
			if err != nil { // the agent may have died in the midst of a line
				return
			}
			lines <- strings.TrimSuffix(line, "\n")
		}
	}()
	e.outlive(os.Getppid(), cmp.Or(timeout, frame.Timeout), lines)
	e.clear()
	return 0
}

// stopTime is how long an agent may be stopped whose launcher bears its silence for the timeout. It is longer: the launcher
// says what it knows of an agent that is silent, and ends what depends on its ranks, before they are gone.
func stopTime(timeout time.Duration) time.Duration { return timeout + frame.Interval(timeout) }

// outlive returns when the agent is gone. One that is stopped for long is killed: its launcher has given it up, and it does
// not hear of that.
func (e *estate) outlive(agent int, timeout time.Duration, lines <-chan string) {
	clock := frame.NewClock(stopTime(timeout))
	defer clock.Stop()
	var stop frame.Silence
	for {
		select {
		case line, more := <-lines:
			if !more {
				return
			}
			e.take(line)
		case <-clock.C:
			clock.Tick()
			if !stopped(agent) {
				stop.Break()
			} else if clock.Dead(&stop) && os.Getppid() == agent {
				syscall.Kill(agent, syscall.SIGKILL)
			}
		}
	}
}

// take takes in what the agent says.
func (e *estate) take(line string) {
	switch what, arg, _ := strings.Cut(line, " "); what {
	case "session", "ended":
		if pid, err := strconv.Atoi(arg); err == nil && pid > 1 {
			e.sessions[pid] = what == "ended" || e.sessions[pid]
		}
	case "group":
		e.group = arg
	case "remove":
		e.paths = append(e.paths, arg)
		if strings.HasPrefix(filepath.Base(arg), dirPrefix) {
			go removeLeftovers(filepath.Dir(arg), "") // of others; it ends with this process, which does not wait for it
		}
	}
}

// clear kills and removes all.
func (e *estate) clear() {
	marks := [][]byte{
		[]byte(place.EnvJob + "=" + e.job),
		[]byte(place.EnvNode + "=" + e.node), // two nodes may be one machine
	}
	if e.group != "" {
		killGroup(e.group)
	}
	for end := time.Now().Add(giveUp); sweep(e.sessions, marks) && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond) // for what was born meanwhile
	}
	if e.group != "" {
		removeGroup(e.group)
	}
	for _, p := range e.paths {
		for _, dir := range []string{p, filepath.Dir(p)} { // a directory of the job's, or a file in the cache
			if _, err := own.Dir(dir); err == nil {
				os.RemoveAll(p)
			}
		}
	}
}
