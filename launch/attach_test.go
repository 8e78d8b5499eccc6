//go:build linux

package launch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pprun/pprun/comm"
	"github.com/pprun/pprun/launch"
)

// programs are what this test binary can be instead of a test: a program that launches itself.
var programs = map[string]func(){
	"farm": func() { comm.Main(farm, comm.Via(launch.Local(4))) },
	"init": initialise,
	"idle": func() { comm.Main(idle, comm.Via(launch.Local(3)), comm.Slots(2)) },
	"strict": func() {
		comm.Main(farm, comm.Via(launch.Local(3), launch.Option(func(c *launch.Config) error {
			c.OnFail, c.Report, c.HeartbeatTimeout = launch.OnFailAbort, os.Args[1], 20*time.Second
			return nil
		})))
	},
	"stuck": func() {
		comm.Main(farm, comm.Via(launch.Servers(os.Args[1]), launch.Option(func(c *launch.Config) error {
			c.Keys = os.Args[2]
			return nil
		})))
	},
	"usage": func() { comm.Main(farm, comm.Via(launch.Local(0))) },
	"crowd": crowd,
	"early": early,
	"late":  late,
}

func TestMain(m *testing.M) {
	if name := os.Getenv("LAUNCH_TEST_PROGRAM"); name != "" {
		programs[name]()
		return
	}
	for _, sig := range []os.Signal{syscall.SIGHUP, syscall.SIGINT} {
		if signal.Ignored(sig) { // by nohup, or in the background of a script: programs started here are to get it
			signal.Notify(make(chan os.Signal, 1), sig)
		}
	}
	os.Exit(m.Run())
}

var (
	who  = comm.Register("who", func(context.Context, int) (int, error) { return os.Getpid(), nil })
	kill = comm.Register("kill", func(ctx context.Context, _ int) (int, error) {
		if comm.Attempt(ctx) == 0 {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		return os.Getpid(), nil
	})
	say = comm.Register("say", func(_ context.Context, n int) (int, error) {
		fmt.Println("said by", os.Getenv("PPRUN_RANK"), os.Args[1:])
		return n, nil
	})
)

// farm runs tasks on all ranks, loses one of them, and tells what it has seen.
func farm(ctx context.Context, c *comm.Comm) error {
	pids := map[int]bool{}
	for rank := range c.Size() {
		f := who.With(comm.OnRanks(rank)).Submit(ctx, 0)
		pid, err := f.Get(ctx)
		if err != nil {
			return err
		}
		pids[pid] = true
	}
	fmt.Printf("%d ranks, %d slots, %d processes, here %v, place in the environment %q\n",
		c.Size(), c.Slots(), len(pids), pids[os.Getpid()], os.Getenv("PPRUN_AGENT"))
	before, after := 0, 0
	f, g := who.With(comm.OnRanks(2)), kill.With(comm.OnRanks(2))
	before, err := f.Submit(ctx, 0).Get(ctx)
	if err == nil {
		after, err = g.Submit(ctx, 0).Get(ctx) // by the next incarnation
	}
	if err != nil {
		return err
	}
	fmt.Println("rank 2 is another process:", before != after)
	_, err = say.With(comm.OnRanks(1)).Submit(ctx, 1).Get(ctx)
	return err
}

// initialise calls Init amid what rank 0 alone does from then on.
func initialise() {
	c, err := comm.Init(context.Background(), comm.Via(launch.Local(3)))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	n := 0
	for pid, err := range who.Map(context.Background(), slices.Values(make([]int, 100))) {
		if err == nil && pid > 0 {
			n++
		}
	}
	fmt.Println(n, "tasks of rank", c.Rank(), "of", c.Size())
	if err := c.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// crowd wants more ranks than may open files.
func crowd() {
	syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 160, Max: 160})
	comm.Main(farm, comm.Via(launch.Local(48)))
}

// early ends on rank 1 before it has come to Main.
func early() {
	if os.Getenv("PPRUN_RANK") == "1" {
		os.Exit(7)
	}
	comm.Main(farm, comm.Via(launch.Local(3)))
}

// late does not come to Main on rank 1.
func late() {
	if os.Getenv("PPRUN_RANK") == "1" {
		time.Sleep(time.Hour)
	}
	comm.Main(farm, comm.Via(launch.Local(2)), comm.JoinTimeout(100*time.Millisecond))
}

// idle has tasks under way when it ends as its argument says.
func idle(ctx context.Context, c *comm.Comm) error {
	for rank := range c.Size() {
		sleep.With(comm.OnRanks(rank)).Submit(ctx, 0)
	}
	if _, err := who.With(comm.OnRanks(1)).Submit(ctx, 0).Get(ctx); err != nil {
		return err
	}
	fmt.Println("at work")
	switch os.Args[1] {
	case "return":
		return nil
	case "error":
		return errors.New("enough")
	case "panic":
		panic("enough")
	case "exit":
		os.Exit(3)
	case "line":
		if _, err := os.Stdin.Read(make([]byte, 3)); err != nil {
			return err
		}
		return ctx.Err()
	case "wait":
		<-ctx.Done()
		return context.Cause(ctx)
	}
	for {
		time.Sleep(time.Hour)
	}
}

var sleep = comm.Register("sleep", func(ctx context.Context, _ int) (int, error) {
	if os.Getenv("PPRUN_RANK") != "" { // those of rank 0 are like any program's
		if err := exec.Command("sleep", "1000").Start(); err != nil {
			return 0, err
		}
	}
	<-ctx.Done()
	return 0, nil
})

// run is a program that has been started.
type run struct {
	t              *testing.T
	cmd            *exec.Cmd
	mark           string // in the environment of all its processes
	stdout, stderr bytes.Buffer
}

var runs atomic.Int64

func begin(t *testing.T, program string, args ...string) *run {
	t.Helper()
	r := &run{t: t, cmd: exec.Command(os.Args[0], args...)}
	r.mark = fmt.Sprintf("LAUNCH_TEST_RUN=%d.%d", os.Getpid(), runs.Add(1))
	r.cmd.Env = append(os.Environ(), "LAUNCH_TEST_PROGRAM="+program, r.mark, "GORACE=atexit_sleep_ms=0")
	r.cmd.Stderr = &r.stderr
	return r
}

// finish runs it to its end and wants nothing to be left.
func (r *run) finish(status int, stdout, stderr string) {
	r.t.Helper()
	r.cmd.Stdout = &r.stdout
	r.cmd.Run()
	r.ended(status, stderr)
	if got := r.stdout.String(); got != stdout {
		r.t.Errorf("stdout %q, want %q", got, stdout)
	}
}

func (r *run) ended(status int, stderr string) {
	r.t.Helper()
	if got := r.cmd.ProcessState.ExitCode(); got != status || !strings.Contains(r.stderr.String(), stderr) || stderr == "" && r.stderr.Len() > 0 {
		r.t.Errorf("exit status %d, want %d; stderr, wanted to hold %q:\n%s", got, status, stderr, r.stderr.String())
	}
	end := time.Now().Add(20 * time.Second)
	for left := r.left(); len(left) > 0; left = r.left() {
		if time.Now().After(end) {
			r.t.Fatalf("left: %q", left)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// left are the command lines of the run's processes.
func (r *run) left() (all []string) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		env, err := os.ReadFile(dir + "/environ")
		if err == nil && slices.Contains(strings.Split(string(env), "\x00"), r.mark) {
			line, _ := os.ReadFile(dir + "/cmdline")
			all = append(all, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return all
}

func TestAttached(t *testing.T) {
	begin(t, "farm", "a b", "").finish(0, "4 ranks, 4 slots, 4 processes, here true, place in the environment \"\"\n"+
		"rank 2 is another process: true\nsaid by 1 [a b ]\n", "pprun: rank 2 on ")
	begin(t, "init").finish(0, "100 tasks of rank 0 of 3\n", "")
	begin(t, "early").finish(7, "", ": exit status 7: job aborted, 2 other ranks ended\n")
	begin(t, "usage").finish(64, "", "pprun: launch.Local(0) and no other machine: nobody would run a task\n")
	begin(t, "crowd").finish(125, "", ": 48 ranks are too many: their agent needs ")
	begin(t, "late").finish(1, "", ") did not join: no answer within 100ms\n")
}

// What no option of the package says is said by one of the program's own.
func TestOwnOption(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.json")
	r := begin(t, "strict", file)
	r.cmd.Stdout = &r.stdout
	r.cmd.Run()
	r.ended(137, "killed by signal 9 (SIGKILL): job aborted, 2 other ranks ended\n")
	text, err := os.ReadFile(file)
	if want := fmt.Sprintf(`"command": [
    %q,
    %q
  ],`, os.Args[0], file); err != nil || !strings.Contains(string(text), want) {
		t.Errorf("%v, want %s in\n%s", err, want, text)
	}
	begin(t, "strict", filepath.Join(file, "below")).finish(64, "", "pprun: --report "+file)
}

// A start that is interrupted has the status that a shell would give it.
func TestAttachInterrupted(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := begin(t, "stuck", l.Addr().String(), t.TempDir())
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept() // and say nothing
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r.cmd.Process.Signal(syscall.SIGINT)
	r.cmd.Wait()
	r.ended(130, "pprun: interrupt signal received\n")
}

// However rank 0 ends, nothing is left.
func TestAttachedEnds(t *testing.T) {
	for _, c := range []struct {
		how    string
		signal syscall.Signal
		status int
		stderr string
	}{
		{"return", 0, 0, ""},
		{"error", 0, 1, "rank 0: enough\n"},
		{"panic", 0, 2, "panic: enough\n"},
		{"exit", 0, 3, ""},
		{"wait", syscall.SIGINT, 130, "rank 0: interrupt signal received\n"},
		{"wait", syscall.SIGTERM, 143, "rank 0: terminated signal received\n"},
		{"hang", syscall.SIGINT, -1, ""}, // again and again
		{"hang", syscall.SIGHUP, -1, ""},
		{"hang", syscall.SIGKILL, -1, ""},
	} {
		name := c.how
		if c.signal != 0 {
			name += " " + strconv.Itoa(int(c.signal))
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := begin(t, "idle", c.how)
			if c.signal == 0 {
				r.finish(c.status, "at work\n", c.stderr)
				return
			}
			out, err := r.cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := r.cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if line := make([]byte, 8); true {
				if _, err := out.Read(line); err != nil || string(line) != "at work\n" {
					t.Errorf("read %q, %v", line, err)
				}
			}
			for end := time.Now().Add(20 * time.Second); len(r.left()) < 5; { // ranks, agent, what they have started
				if time.Now().After(end) {
					t.Fatalf("processes: %q", r.left())
				}
			}
			go func() {
				for c.how == "hang" && r.cmd.Process.Signal(c.signal) == nil {
					time.Sleep(20 * time.Millisecond)
				}
			}()
			r.cmd.Process.Signal(c.signal)
			r.cmd.Wait()
			r.ended(c.status, c.stderr)
		})
	}
}
