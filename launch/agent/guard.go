package agent

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pprun/pprun/comm/place"
)

// The start of the guard keeps out of the way of the ranks': it comes so long after hello, or sooner when all ranks have
// started. A job that is over by then needs none; one whose agent is killed before is left to the parent-death signal.
const (
	guardAfterHello = 50 * time.Millisecond
	guardAfterStart = 10 * time.Millisecond
)

// guard is the agent's end of the process that cleans up should the agent be killed. It is told what there will be to
// clean by lines on a pipe, whose end without a bye is the agent's.
//
//	session PID    a session to kill, and its leader
//	ended PID      the leader has ended: a process of that number is a stranger now, and so is its session
//	remove PATH    a directory or a file to delete
//	bye            the agent has cleaned up itself
type guard struct {
	timer  *time.Timer
	reaper *reaper
	hello  Hello

	mu    sync.Mutex
	over  bool
	lines []byte   // told before the process ran
	pipe  *os.File // nil: it does not run
	proc  int
	gone  chan struct{} // closed when it has ended
}

// startGuard starts a guard a little later.
func startGuard(r *reaper, hello Hello) *guard {
	g := &guard{reaper: r, hello: hello, gone: make(chan struct{})}
	g.timer = time.AfterFunc(guardAfterHello, g.start)
	return g
}

func (g *guard) start() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over || g.pipe != nil {
		return
	}
	r, w, err := pipe()
	if err != nil {
		return
	}
	defer syscall.Close(r)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		syscall.Close(w)
		return
	}
	defer null.Close()
	n, _ := syscall.Write(w, g.lines[:min(len(g.lines), 4<<10)]) // before its birth, as far as surely fits: the agent may end any time
	g.lines = g.lines[max(n, 0):]
	defer g.reaper.starting()()
	pid, err := syscall.ForkExec(selfPath, []string{"pprun", "guard"}, &syscall.ProcAttr{
		Dir: "/", Sys: &syscall.SysProcAttr{Setsid: true},
		Env: []string{"PPRUN_MODE=guard", "PPRUN_GUARDED=" + g.hello.Job, "PPRUN_GUARDED_NODE=" + strconv.Itoa(g.hello.Node),
			"GOMAXPROCS=1", "GORACE=atexit_sleep_ms=0"}, // of a build with the race detector: else it ends a second later
		Files: []uintptr{uintptr(r), null.Fd(), null.Fd()},
	})
	if err != nil {
		syscall.Close(w)
		return
	}
	g.proc, g.pipe = pid, os.NewFile(uintptr(w), "guard")
	g.reaper.expect(pid, watcher{ended: func(ending) { close(g.gone) }})
	g.pipe.Write(g.lines)
}

func (g *guard) tell(lines string) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pipe != nil {
		g.pipe.WriteString(lines)
		return
	}
	g.lines = append(g.lines, lines...)
}

// watch tells of the ranks' sessions.
func (g *guard) watch(pids []int) {
	var b strings.Builder
	for _, pid := range pids {
		fmt.Fprintf(&b, "session %d\n", pid)
	}
	g.tell(b.String())
	g.timer.Reset(guardAfterStart)
}

// ended tells that a rank has ended.
func (g *guard) ended(pid int64) { g.tell(fmt.Sprintf("ended %d\n", pid)) }

// remove tells of a directory or a file.
func (g *guard) remove(path string) { g.tell("remove " + path + "\n") }

// pid is the guard's process, 0 without one.
func (g *guard) pid() int {
	if g == nil {
		return 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.proc
}

// dismiss ends the guard.
func (g *guard) dismiss() {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over = true
	g.timer.Stop()
	if g.pipe == nil {
		return
	}
	g.pipe.WriteString("bye\n")
	g.pipe.Close()
	select {
	case <-g.gone:
	case <-time.After(giveUp):
		syscall.Kill(g.proc, syscall.SIGKILL)
	}
}

// guardMain is the guard's process.
func guardMain() int {
	untilTerm()                // a guard ends with its agent, not with a terminal
	sessions := map[int]bool{} // by leader: whether it has ended
	var paths []string
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		switch what, arg, _ := strings.Cut(lines.Text(), " "); what {
		case "session", "ended":
			if pid, err := strconv.Atoi(arg); err == nil && pid > 1 {
				sessions[pid] = what == "ended" || sessions[pid]
			}
		case "remove":
			paths = append(paths, arg)
			if strings.HasPrefix(filepath.Base(arg), dirPrefix) {
				go removeLeftovers(filepath.Dir(arg)) // of others; it ends with this process, which does not wait for it
			}
		case "bye":
			return 0
		}
	}
	job := os.Getenv("PPRUN_GUARDED")
	if !validJob(job) {
		return 64
	}
	marks := [][]byte{
		[]byte(place.EnvJob + "=" + job),
		[]byte(place.EnvNode + "=" + os.Getenv("PPRUN_GUARDED_NODE")), // two nodes may be one machine
	}
	for end := time.Now().Add(giveUp); sweep(sessions, marks) && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond) // for what was born meanwhile
	}
	for _, p := range paths {
		if ownDir(p) == nil || ownDir(filepath.Dir(p)) == nil {
			os.RemoveAll(p)
		}
	}
	return 0
}
