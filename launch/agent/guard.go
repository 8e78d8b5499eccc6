package agent

import (
	"cmp"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pprun/pprun/comm/frame"
)

// On the launcher's own machine the start of the guard keeps out of the way of the ranks': it comes so long after hello, or
// sooner when all ranks have started. A job that is over by then needs none, and should the agent be killed before, the
// launcher is there (LeftBehind). On another machine nobody is: there it comes with hello.
const (
	guardAfterHello = 50 * time.Millisecond
	guardAfterStart = 10 * time.Millisecond
	guardAgain      = time.Second // after a start that failed
)

// guard is the agent's end of the process that cleans up should the agent be killed, or be stopped for longer than the
// launcher waits for it. It is told what there will be to clean by lines on a pipe, whose end is the agent's.
//
//	session PID    a session to kill, and its leader
//	ended PID      the leader has ended: a process of that number is a stranger now, and so is its session
//	remove PATH    a directory or a file to delete
//	group PATH     a control group to kill and to delete
type guard struct {
	timer  *time.Timer
	ready  sync.Once // threads of the agent: they, too, are for when all goes wrong
	reaper *reaper
	hello  Hello

	mu      sync.Mutex
	over    bool
	lines   []byte   // that it is still to be told
	pipe    *os.File // nil: it does not run
	telling bool     // a goroutine tells it, as it reads nothing now: it may be stopped
	proc    int
	gone    chan struct{} // closed when it has ended
}

// startGuard starts a guard: at once where the launcher is remote, else a little later.
func startGuard(r *reaper, hello Hello, remote bool) *guard {
	g := &guard{reaper: r, hello: hello, gone: make(chan struct{})}
	wait := guardAfterHello
	if remote {
		wait = 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.timer = time.AfterFunc(wait, g.start)
	return g
}

// start starts it, unless it runs, and tries again later where that cannot be now.
func (g *guard) start() {
	g.ready.Do(ReadyThreads)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over || g.pipe != nil {
		return
	}
	if err := g.spawn(); err != nil {
		g.timer.Reset(guardAgain)
		return
	}
	g.pass()
}

func (g *guard) spawn() error {
	r, w, err := pipe()
	if err != nil {
		return err
	}
	defer syscall.Close(r)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		syscall.Close(w)
		return err
	}
	defer null.Close()
	n, _ := syscall.Write(w, g.lines[:min(len(g.lines), 4<<10)]) // before its birth, as far as surely fits: the agent may end any time
	defer g.reaper.starting()()
	pid, err := syscall.ForkExec(selfPath, []string{"pprun", "guard"}, &syscall.ProcAttr{
		Dir: "/", Sys: &syscall.SysProcAttr{Setsid: true},
		Env: []string{EnvMode + "=guard", guardedJob + "=" + g.hello.Job, guardedNode + "=" + strconv.Itoa(g.hello.Node),
			guardedTimeout + "=" + cmp.Or(g.hello.Heartbeat, frame.Timeout).String(), "GOMAXPROCS=1"},
		Files: []uintptr{uintptr(r), null.Fd(), null.Fd()},
	})
	if err != nil {
		syscall.Close(w)
		return err
	}
	g.lines = g.lines[max(n, 0):]
	g.proc, g.pipe = pid, pipeFile(w)
	g.reaper.expect(pid, watcher{ended: func(ending) { close(g.gone) }})
	return nil
}

// tell tells it something; it does not wait for it.
func (g *guard) tell(lines string) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lines = append(g.lines, lines...)
	if g.pipe != nil && !g.telling {
		g.pass()
	}
}

// pass passes on what is to be told: at once, as far as the pipe takes it. g.mu is held.
func (g *guard) pass() {
	if raw, err := g.pipe.SyscallConn(); err == nil {
		raw.Write(func(fd uintptr) bool {
			n, _ := syscall.Write(int(fd), g.lines)
			g.lines = g.lines[max(n, 0):]
			return true
		})
	}
	if len(g.lines) > 0 {
		g.telling = true
		go g.wait()
	}
}

// wait passes on what is to be told as the pipe takes it, until all is told or the guard is dismissed.
func (g *guard) wait() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.lines) > 0 {
		b := g.lines
		g.lines = nil
		g.mu.Unlock()
		_, err := g.pipe.Write(b)
		g.mu.Lock()
		if err != nil {
			return
		}
	}
	g.telling = false
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

// holds tells of the ranks' control group.
func (g *guard) holds(group *group) {
	if group != nil {
		g.tell("group " + group.path + "\n")
	}
}

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

// dismiss ends the guard: there is nothing left to clean.
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
	syscall.Kill(g.proc, syscall.SIGKILL)
	<-g.gone
	g.pipe.Close()
}
