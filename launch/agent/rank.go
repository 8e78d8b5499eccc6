package agent

import (
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pprun/pprun/comm/frame"
)

// rank is one process of the job on this node, and its rank's only one while it runs.
type rank struct {
	Rank
	incarnation uint32
	feed        *feed // nil: standard input is not forwarded
	out, err    *stream
	seat        seat

	pid    atomic.Int64 // 0: not yet started
	begun  time.Time
	ended  chan struct{} // closed when the process has ended
	end    ending        // read after ended
	over   time.Time     // read after ended
	killed atomic.Bool   // the agent had been told to end it
	hung   atomic.Bool   // it was killed because the hub had given it up
	halted bool          // the launcher has been told that it is stopped; beat's own
	told   chan struct{} // closed when its start has been told: its end is told after that
}

func newRank(r Rank, a *agent) *rank {
	n := &rank{Rank: r, incarnation: r.Incarnation, ended: make(chan struct{}), told: a.started}
	if r.Stdin == StdinForward {
		n.feed = newFeed(r.Rank, a.conn)
	}
	return n
}

// rank returns the process of a rank, nil if it does not run here.
func (a *agent) rank(n int) *rank {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ranks[n]
}

// all returns the processes of all ranks.
func (a *agent) all() []*rank {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Collect(maps.Values(a.ranks))
}

// attached says whether the process is the launcher itself, which the agent has not started and does not end.
func (r *rank) attached() bool { return r.PID != 0 }

// attached says whether one of the ranks is the launcher.
func (a *agent) attached() bool { return slices.ContainsFunc(a.all(), (*rank).attached) }

// alive says whether the process runs, if the agent has started it.
func (r *rank) alive() bool {
	if r.pid.Load() == 0 {
		return false
	}
	select {
	case <-r.ended:
		return false
	default:
		return true
	}
}

// run starts the process of r; it is called on a spawner's thread.
func (a *agent) run(r *rank, p *plan) error {
	var ours, theirs [3]int
	stdin := int(p.null.Fd())
	defer func() {
		for _, fd := range theirs {
			closePipe(fd)
		}
	}()
	var pid int
	var err error
	if r.feed != nil {
		if theirs[0], ours[0], err = pipe(); err != nil {
			return err
		}
		stdin = theirs[0]
	} else if r.Stdin == StdinInherit && a.cfg.Stdin != nil {
		stdin = p.inherit
	}
	for i := 1; i <= 2 && err == nil; i++ {
		ours[i], theirs[i], err = pipe()
	}
	if err == nil {
		r.begun = time.Now()
		attr := &syscall.ProcAttr{
			Dir: p.dir, Env: p.environ(r), Sys: a.group.member(session()),
			Files: []uintptr{uintptr(stdin), uintptr(theirs[1]), uintptr(theirs[2])},
		}
		if pid, err = spawn(p.path, p.argv, attr); err != nil && a.group != nil { // the group may be what the kernel refuses
			attr.Sys = session()
			pid, err = spawn(p.path, p.argv, attr)
		}
	}
	if err != nil {
		for _, fd := range ours {
			closePipe(fd)
		}
		return err
	}
	r.pid.Store(int64(pid))
	if a.ender.begun() { // TERM went out before this one was born
		r.killed.Store(true)
		syscall.Kill(pid, syscall.SIGKILL)
	}
	a.watch(r, ours)
	return nil
}

// closePipe closes a descriptor that pipe returned; 0 was never one of them.
func closePipe(fd int) {
	if fd > 0 {
		syscall.Close(fd)
	}
}

// watch carries the streams of a started rank and reports its end.
func (a *agent) watch(r *rank, ours [3]int) {
	var streams sync.WaitGroup
	if r.feed != nil {
		file := pipeFile(ours[0])
		a.work.Go(func() { r.feed.run(file) })
	}
	r.out = a.stream(r, KindStdout, ours[1])
	r.err = a.stream(r, KindStderr, ours[2])
	r.err.keep = true
	r.out.outlet = a.outlet.Load()
	streams.Go(r.out.relay)
	streams.Go(r.err.relay)
	a.reaper.expect(int(r.pid.Load()), watcher{
		ended: func(e ending) {
			r.end, r.over = e, time.Now()
			close(r.ended)
		},
		stopped: a.lookSoon,
	})
	a.work.Go(func() {
		<-r.ended
		a.guard.ended(r.pid.Load())
		if r.feed != nil {
			r.feed.end()
		}
		if r.serves() && r.end.status != 0 && !a.ender.begun() {
			a.clear(r) // before it is missed: the hub may still believe in what it left
		}
		r.out.finish(r.end)
		r.err.finish(r.end)
		streams.Wait()
		joined, left := r.seat.leave()
		<-r.told
		x := a.exit(r, joined, left)
		a.enterExit(x)
		a.noteQuota(x)
		a.send(frame.Header{Kind: KindExit}, x)
	})
}

func (a *agent) stream(r *rank, kind frame.Kind, fd int) *stream {
	return &stream{head: frame.Header{Kind: kind, Src: uint32(r.Rank.Rank)}, file: pipeFile(fd), conn: a.conn, credit: a.credit}
}

// pipeFile makes the agent's end of a pipe a file that waits without a thread.
func pipeFile(fd int) *os.File {
	syscall.SetNonblock(fd, true)
	return os.NewFile(uintptr(fd), "pipe")
}

// exit tells how r ended.
func (a *agent) exit(r *rank, joined, left bool) Exit {
	s := r.end.status
	x := Exit{
		Rank: r.Rank.Rank, PID: int(r.pid.Load()), Incarnation: r.incarnation, Code: s.ExitStatus(),
		Killed: r.killed.Load(), Joined: joined, Left: left, Orphan: r.seat.orphan.Load() != nil, Hung: r.hung.Load(),
		Wall: r.over.Sub(r.begun), Ago: time.Since(r.over),
		User: time.Duration(r.end.usage.Utime.Nano()), System: time.Duration(r.end.usage.Stime.Nano()),
		MaxRSS: int64(r.end.usage.Maxrss) * maxRSSUnit, Stderr: r.err.tail,
	}
	if why := r.seat.orphan.Load(); why != nil {
		x.Deaf = *why != ""
	}
	if r.feed != nil {
		x.StdinRead = r.feed.read()
	}
	if s.Signaled() {
		x.Signal, x.Core = int(s.Signal()), s.CoreDump()
		if x.OOM = s.Signal() == syscall.SIGKILL && !x.Killed && a.oom.moved(); x.OOM {
			x.OOMLimit = a.oom.limit()
		}
	}
	return x
}
