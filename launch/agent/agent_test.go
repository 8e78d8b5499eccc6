//go:build linux

package agent

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pprun/pprun/comm/frame"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "agent" || os.Args[1] == "guard") {
		os.Exit(Main(os.Args[1:]))
	}
	if program := programs[os.Getenv("AGENT_TEST_PROGRAM")]; program != nil {
		program()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// programs are what ranks run, beside the system's own.
var programs = map[string]func(){}

// deadline bounds every wait of the tests.
const deadline = 20 * time.Second

// testJob begins the ids of this process's jobs: what a test process of another leaves must not be taken for its own.
var testJob = fmt.Sprintf("%014x", os.Getpid())

// launcher is the other end: it starts an agent as a process and takes down what it says.
type launcher struct {
	t    testing.TB
	cmd  *exec.Cmd
	conn *Conn
	job  string
	done chan struct{} // closed when the agent's stream has ended

	mu      sync.Mutex
	more    *sync.Cond
	out     map[uint32]*strings.Builder // standard output by rank
	errs    map[uint32]*strings.Builder
	exits   map[int]Exit
	ended   []int          // ranks, as their ends were told
	frames  []frame.Header // all but output, beats
	fails   []Failure
	notes   []string
	stops   []int // processes that were stopped; 0: it went on
	staged  map[uint64]Staged
	values  map[frame.Kind][]byte
	credit  map[uint32]int  // of standard input
	refused map[uint32]bool // it takes no more of it
	beats   int
	bytes   int // of output, if discard
	discard bool
	hold    bool // grant no output credit
	owed    int
}

var jobs sync.Mutex
var lastJob int

// launchAgent starts an agent with the given variables added to its environment.
func launchAgent(t testing.TB, env ...string) *launcher {
	return launchCommand(t, agentCommand(env, "--fd", "3"))
}

// launchCommand starts an agent that speaks over its descriptor 3.
func launchCommand(t testing.TB, cmd *exec.Cmd) *launcher {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "theirs")
	defer theirs.Close()
	cmd.ExtraFiles = append([]*os.File{theirs}, cmd.ExtraFiles...)
	cmd.Stdin = os.Stdin
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ours := os.NewFile(uintptr(fds[0]), "ours")
	defer ours.Close()
	c, err := net.FileConn(ours)
	if err != nil {
		t.Fatal(err)
	}
	return newLauncher(t, cmd, c)
}

// launchRemoteAgent starts an agent that speaks over pipes, as ssh would.
func launchRemoteAgent(t testing.TB, env ...string) *launcher {
	cmd := agentCommand(env)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return newLauncher(t, cmd, &pipes{out, in})
}

// pipes is a stream made of two.
type pipes struct {
	io.ReadCloser
	w io.WriteCloser
}

func (p *pipes) Write(b []byte) (int, error) { return p.w.Write(b) }
func (p *pipes) Close() error                { return errors.Join(p.w.Close(), p.ReadCloser.Close()) }

func agentCommand(env []string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], append([]string{"agent"}, args...)...)
	cmd.Env = append(append(os.Environ(), "XDG_RUNTIME_DIR=", "TMPDIR=/tmp", "GORACE=atexit_sleep_ms=0"), env...)
	cmd.Stderr = os.Stderr
	return cmd
}

func newLauncher(t testing.TB, cmd *exec.Cmd, c io.ReadWriteCloser) *launcher {
	jobs.Lock()
	lastJob++
	job := testJob + strconv.Itoa(10+lastJob%90)
	jobs.Unlock()
	l := &launcher{t: t, cmd: cmd, conn: NewConn(c), job: job, done: make(chan struct{}),
		out: map[uint32]*strings.Builder{}, errs: map[uint32]*strings.Builder{}, exits: map[int]Exit{}, staged: map[uint64]Staged{},
		values: map[frame.Kind][]byte{}, credit: map[uint32]int{}, refused: map[uint32]bool{}}
	l.more = sync.NewCond(&l.mu)
	go l.read()
	t.Cleanup(func() {
		l.conn.Close()
		<-l.done
		cmd.Wait()
	})
	return l
}

// hello opens the conversation.
func (l *launcher) hello(grace time.Duration) Ready {
	l.send(KindHello, Hello{Version: Version, Job: l.job, Host: "here", Grace: grace, Heartbeat: time.Hour}) // a test does not beat
	l.wait("ready", func() bool { return l.values[KindReady] != nil })
	r, err := Decode[Ready](l.values[KindReady])
	if err != nil {
		l.t.Fatal(err)
	}
	return r
}

func (l *launcher) send(kind frame.Kind, v any) {
	l.t.Helper()
	if err := l.conn.SendValue(frame.Header{Kind: kind}, v); err != nil {
		l.t.Fatal(err)
	}
}

func (l *launcher) sendID(kind frame.Kind, id uint64) {
	l.t.Helper()
	if err := l.conn.Send(frame.Header{Kind: kind, ID: id}, nil); err != nil {
		l.t.Fatal(err)
	}
}

// read takes down frames until the stream ends.
func (l *launcher) read() {
	defer close(l.done)
	for {
		h, payload, err := l.conn.Next()
		l.mu.Lock()
		if err != nil {
			if err != io.EOF && !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrClosed) && !errors.Is(err, syscall.ECONNRESET) {
				l.notes = append(l.notes, "read: "+err.Error())
			}
			l.frames = append(l.frames, frame.Header{})
			l.more.Broadcast()
			l.mu.Unlock()
			return
		}
		l.take(h, payload)
		l.more.Broadcast()
		l.mu.Unlock()
	}
}

func (l *launcher) take(h frame.Header, payload []byte) {
	add := func(m map[uint32]*strings.Builder) {
		if l.discard {
			l.count(h)
			return
		}
		if m[h.Src] == nil {
			m[h.Src] = &strings.Builder{}
		}
		m[h.Src].Write(payload)
		l.owed += len(payload)
		if !l.hold {
			l.conn.Send(frame.Header{Kind: KindOutputCredit, ID: uint64(l.owed)}, nil)
			l.owed = 0
		}
	}
	switch h.Kind {
	case KindBeat:
		l.beats++
		return
	case KindStdout:
		add(l.out)
	case KindStderr:
		add(l.errs)
	case KindStdinCredit:
		l.credit[h.Src] += int(h.ID)
		l.refused[h.Src] = h.ID == 0
	case KindExit:
		x, _ := Decode[Exit](payload)
		l.exits[x.Rank], l.ended = x, append(l.ended, x.Rank)
	case KindFailure:
		f, _ := Decode[Failure](payload)
		l.fails = append(l.fails, f)
	case KindNote:
		l.notes = append(l.notes, string(payload))
	case KindStopped:
		l.stops = append(l.stops, int(h.ID))
	case KindStaged:
		l.staged[h.ID], _ = Decode[Staged](payload)
	default:
		l.values[h.Kind] = append([]byte{}, payload...)
	}
	l.frames = append(l.frames, h)
}

// wait waits for a condition on what has been taken down; l.mu is held while ok runs.
func (l *launcher) wait(what string, ok func() bool) {
	l.t.Helper()
	late := time.AfterFunc(deadline, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.more.Broadcast()
	})
	defer late.Stop()
	end := time.Now().Add(deadline)
	l.mu.Lock()
	defer l.mu.Unlock()
	for !ok() {
		failed := len(l.fails) > 0 && what == "started"
		if failed || time.Now().After(end) || len(l.frames) > 0 && l.frames[len(l.frames)-1].Kind == 0 {
			l.t.Fatalf("waited for %s; exits %v, failures %+v, notes %q", what, l.exits, l.fails, l.notes)
		}
		l.more.Wait()
	}
}

// sh is a start of n ranks of a shell script.
func sh(n int, script string) Start {
	s := Start{Program: Program{Path: "/bin/sh", Name: "sh"}, Args: []string{"-c", script}, Dir: "/tmp", DirGiven: true, Size: n,
		Nodes: []string{"here"}, NodeOf: make([]int, n), Slots: make([]int, n)}
	for i := range n {
		s.Ranks = append(s.Ranks, Rank{Rank: i, LocalRank: i, MaxProcs: 2})
		s.Slots[i] = 2
	}
	return s
}

// start starts the ranks and waits until they are.
func (l *launcher) start(s Start) []int {
	l.t.Helper()
	l.send(KindStart, s)
	l.wait("started", func() bool { return l.values[KindStarted] != nil })
	st, err := Decode[Started](l.values[KindStarted])
	if err != nil {
		l.t.Fatal(err)
	}
	return st.PIDs
}

// exited waits until n ranks have ended.
func (l *launcher) exited(n int) map[int]Exit {
	l.t.Helper()
	l.wait(strconv.Itoa(n)+" exits", func() bool { return len(l.exits) == n })
	return l.exits
}

// bye ends the conversation and waits until the agent has left nothing.
func (l *launcher) bye() {
	l.t.Helper()
	l.sendID(KindBye, 0)
	l.wait("done", func() bool { return l.values[KindDone] != nil })
	<-l.done
	if err := l.cmd.Wait(); err != nil {
		l.t.Errorf("agent: %v", err)
	}
	l.nothingLeft()
}

// listed is the process table.
func listed() []process {
	ps, err := processes()
	if err != nil {
		panic(err)
	}
	return ps
}

// nothingLeft waits until no process and no directory of the job is to be found.
func (l *launcher) nothingLeft() {
	l.t.Helper()
	mark := [][]byte{[]byte("PPRUN_JOB=" + l.job)}
	until(l.t, "processes of the job to go", func() bool {
		for _, p := range listed() {
			if !p.zombie && marked(p.pid, mark) {
				return false
			}
		}
		return true
	})
	until(l.t, "directories of the job to go", func() bool {
		found, _ := filepath.Glob("/tmp/pprun-" + l.job + "-*")
		return len(found) == 0
	})
}

// until polls for a condition that nobody reports.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited for %s", what)
		}
	}
}
