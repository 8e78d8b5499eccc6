package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pprun/pprun/comm"
)

// farms are programs in which something goes wrong that goes wrong in Parallel Python, too, and worse there. Each is run
// as a job of three processes. What rank 0 returns is the result: an error fails the test.
var farms = []farm{
	{name: "an error is a value, a panic comes with its stack, the rank lives", run: failures},
	{name: "function literals, bound methods and wrapped library functions are as good as any", run: literals},
	{name: "the output of tasks comes whole and once", run: chatter, stdout: chatterOutput},
	{name: "tasks run on all ranks from the start", run: meeting},
	{name: "what cannot be registered or submitted is refused there and then", run: refusals},
	{name: "the task of a killed rank is run again, the next hundred finish, each counts once", run: killedOnce, opts: onlyWorkers(), stderr: tooLate},
	{name: "a task that kills its rank three times is an error, and the ranks come back", run: killedAlways, opts: onlyWorkers(), stderr: tooLate},
	{name: "no port is open, since a job on one machine needs no network", run: ports, under: []string{"unshare", "--net", "--map-root-user"}},
	{name: "an error that rank 0 returns is the end of the job, and is said once", run: unhandled, status: 1,
		stderr: `rank 0: comm: farm_open on rank \d \(\S+\): open /no/such/file: no such file or directory\n` +
			`pprun: rank 0 on \S+ \(pid \d+, after \S+\): exit status 1(: job aborted, \d other ranks? ended)?\n`},
	{name: "a job in which no rank would run a task is refused", run: unhandled, opts: []comm.InitOption{comm.Slots(0)}, status: 1,
		stderr: `pprun: rank 0: comm: no rank has a slot: nobody would run a task\n` +
			`pprun: rank 0 on \S+ \(pid \d+, after \S+\): exit status 1(: job aborted, \d other ranks? ended)?\n`},
}

// A farm is a program and what it has to print.
type farm struct {
	name           string
	run            func(ctx context.Context, c *comm.Comm) error
	opts           []comm.InitOption
	under          []string // command that runs pprun
	stdout, stderr string   // regular expressions for all of it, but for the order of lines
	status         int
}

func TestWhereParallelPythonFails(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range farms {
		t.Run(f.name, func(t *testing.T) {
			if len(f.under) > 0 && exec.Command(f.under[0], append(f.under[1:], "true")...).Run() != nil {
				t.Skipf("needs a system that allows %s", strings.Join(f.under, " "))
			}
			argv := append(slices.Clone(f.under), exe, "-q", "-n", "3", exe, "farm", f.name, t.TempDir())
			cmd := exec.Command(argv[0], argv[1:]...)
			cmd.Env = append(os.Environ(), "PPRUN_TEST_MAIN=1", "GORACE=atexit_sleep_ms=0")
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
				t.Fatal(err)
			}
			lines := slices.Sorted(strings.Lines(stdout.String()))
			r := result{strings.Join(lines, ""), stderr.String(), cmd.ProcessState.ExitCode()}
			r.want(t, f.status, "^"+f.stderr+"$")
			if !regexp.MustCompile("^" + f.stdout + "$").MatchString(r.stdout) {
				t.Errorf("standard output, wanted to match %q: %q", f.stdout, r.stdout)
			}
		})
	}
}

// beFarm is what a rank of such a job does.
func beFarm(name string) {
	for _, f := range farms {
		if f.name == name {
			comm.Main(f.run, f.opts...)
		}
	}
	fmt.Fprintf(os.Stderr, "no farm %q\n", name)
	os.Exit(64)
}

// private is a directory that all ranks of a farm share with each other and with nobody else.
func private() string { return os.Args[len(os.Args)-1] }

var (
	farmOpen = comm.Register("farm_open", func(_ context.Context, name string) (int, error) {
		f, err := os.Open(name)
		if err != nil {
			return 0, err
		}
		return 1, f.Close()
	})
	farmIndex = comm.Register("farm_index", func(_ context.Context, i int) (int, error) { return []int{1, 2, 3}[i], nil })
)

func failures(ctx context.Context, c *comm.Comm) error {
	_, err := farmOpen.Call(ctx, "/no/such/file")
	if failed, ok := errors.AsType[*comm.TaskError](err); !ok || failed.Panic || !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("an error: %#v", err)
	}
	_, err = farmIndex.Call(ctx, 3)
	failed, ok := errors.AsType[*comm.TaskError](err)
	if !ok || !failed.Panic || !strings.Contains(string(failed.Stack), "cmd/pprun/farm_test.go:") || !strings.Contains(err.Error(), "index out of range [3] with length 3") {
		return fmt.Errorf("a panic: %#v", err)
	}
	for range 100 {
		if n, err := farmIndex.Call(ctx, 1); n != 2 || err != nil {
			return fmt.Errorf("a task after that: %d, %w", n, err)
		}
	}
	return nil
}

type scale struct{ By float64 }

func (s scale) times(_ context.Context, x float64) (float64, error) { return s.By * x, nil }

var (
	farmHalf = comm.Register("farm_half", scale{0.5}.times)
	farmSqrt = comm.Register("farm_sqrt", wrap(math.Sqrt))
)

// wrap makes a function of the library one that can be registered.
func wrap[A, R any](f func(A) R) func(context.Context, A) (R, error) {
	return func(_ context.Context, a A) (R, error) { return f(a), nil }
}

func literals(ctx context.Context, c *comm.Comm) error {
	half, err := farmHalf.OnAll(ctx, 3)
	if err != nil {
		return err
	}
	root, err := farmSqrt.OnAll(ctx, 2.25)
	if want := []float64{1.5, 1.5, 1.5}; !slices.Equal(half, want) || !slices.Equal(root, want) {
		return fmt.Errorf("halves %v, roots %v, %w", half, root, err)
	}
	return nil
}

const chatterTasks = 20

var chatterOutput = func() string {
	var lines []string
	for i := range chatterTasks {
		lines = append(lines, chatterLine(i))
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}()

func chatterLine(i int) string { return fmt.Sprintf("task %d %s\n", i, strings.Repeat("x", 100*i)) }

var farmPrint = comm.Register("farm_print", func(_ context.Context, i int) (int, error) { return fmt.Print(chatterLine(i)) })

func chatter(ctx context.Context, c *comm.Comm) error {
	for i := range chatterTasks {
		if _, err := farmPrint.Call(ctx, i); err != nil { // one after the other: it is the second that fails in Python
			return err
		}
	}
	return nil
}

// farmMeet returns its rank when tasks of all three ranks have come.
var farmMeet = comm.Register("farm_meet", func(ctx context.Context, _ struct{}) (int, error) {
	c, _ := comm.FromContext(ctx)
	for here := 0; here < 3; time.Sleep(time.Millisecond) {
		if err := os.WriteFile(filepath.Join(private(), fmt.Sprint("rank", c.Rank())), nil, 0o600); err != nil {
			return 0, err
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		came, _ := filepath.Glob(filepath.Join(private(), "rank*"))
		here = len(came)
	}
	return c.Rank(), nil
})

func meeting(ctx context.Context, c *comm.Comm) error {
	f, g, h := farmMeet.Submit(ctx, struct{}{}), farmMeet.Submit(ctx, struct{}{}), farmMeet.Submit(ctx, struct{}{})
	ranks, err := comm.Gather(ctx, f, g, h)
	if slices.Sort(ranks); err == nil && !slices.Equal(ranks, []int{0, 1, 2}) {
		err = fmt.Errorf("ran on ranks %v", ranks)
	}
	return err
}

func refusals(ctx context.Context, c *comm.Comm) error {
	for want, register := range map[string]func(){
		`farm_test.go:\d+: argument chan int: `:             func() { comm.Register("farm_chan", wrap(func(chan int) int { return 0 })) },
		`result func\(\): `:                                 func() { comm.Register("farm_func", wrap(func(int) func() { return nil })) },
		`after the ranks were joined at farm_test.go:\d+: `: func() { comm.Register("farm_late", wrap(math.Abs)) },
		`the function is nil`:                               func() { comm.Register[int, int]("farm_nil", nil) },
	} {
		if got := panicOf(register); !regexp.MustCompile(want).MatchString(got) {
			return fmt.Errorf("registered with %q, want %q", got, want)
		}
	}
	for want, f := range map[string]*comm.Future[int]{
		`no function "farm_opne" is registered`: comm.Submit[int](ctx, "farm_opne", "x"),
		`arg 1: have int, want string`:          comm.Submit[int](ctx, "farm_open", 1),
		`have 0 arguments, want 1`:              comm.Submit[int](ctx, "farm_open"),
	} {
		select {
		case <-f.Done():
		default:
			return fmt.Errorf("not refused: %s", want)
		}
		if _, err := f.Get(ctx); err == nil || !strings.Contains(err.Error(), want) {
			return fmt.Errorf("submitted with %w, want %q", err, want)
		}
	}
	return nil
}

func panicOf(f func()) (text string) {
	defer func() { text = fmt.Sprint(recover()) }()
	f()
	return ""
}

func unhandled(ctx context.Context, c *comm.Comm) error {
	_, err := farmOpen.Call(ctx, "/no/such/file")
	return err
}

// ports runs in a network namespace of the job's own: every socket in it is the job's.
func ports(ctx context.Context, c *comm.Comm) error {
	if _, err := farmIndex.OnAll(ctx, 0); err != nil { // all are in
		return err
	}
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		b, err := os.ReadFile("/proc/self/net/" + table)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if sockets := strings.Count(string(b), "\n"); sockets > 1 { // the first line is a heading
			return fmt.Errorf("%s sockets:\n%s", table, b)
		}
	}
	return nil
}

// tooLate is what pprun says, even if it is to be quiet, of a rank that it finds killed when the job is over.
const tooLate = `(pprun: rank \d on \S+ \(pid \d+, after \S+\): killed by signal 9 \(SIGKILL\): its work was done\n)*`

// onlyWorkers lets rank 0 run no task.
func onlyWorkers() (opts []comm.InitOption) {
	if os.Getenv("PPRUN_RANK") == "0" {
		opts = append(opts, comm.Slots(0))
	}
	return opts
}

var (
	// farmDieOnce kills its process, the first time.
	farmDieOnce = comm.Register("farm_die_once", func(_ context.Context, n int) (int, error) {
		if os.Mkdir(filepath.Join(private(), "died"), 0o700) == nil {
			die()
		}
		return n, nil
	})
	farmDie = comm.Register("farm_die", func(context.Context, struct{}) (struct{}, error) { die(); return struct{}{}, nil })
)

func die() {
	syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

func killedOnce(ctx context.Context, c *comm.Comm) error {
	first := farmDieOnce.Submit(ctx, 7)
	calls := 0
	then := first.Then(func(int, error) { calls++ })
	for i := range 100 {
		if n, err := farmIndex.Call(ctx, i%3); err != nil || n != i%3+1 {
			return fmt.Errorf("task %d after it: %d, %w", i, n, err)
		}
	}
	if n, err := then.Get(ctx); n != 7 || err != nil || calls != 1 {
		return fmt.Errorf("the task of the killed rank: %d, %w, %d callbacks", n, err, calls)
	}
	counted := 0
	for _, n := range c.Stats().Nodes {
		counted += n.Tasks
	}
	if counted != 101 {
		return fmt.Errorf("%d tasks counted of 101", counted)
	}
	return nil
}

func killedAlways(ctx context.Context, c *comm.Comm) error {
	_, err := farmDie.Call(ctx, struct{}{})
	lost, ok := errors.AsType[*comm.LostError](err)
	if !ok || len(lost.Attempts) != 3 || lost.Signal != "SIGKILL" || lost.Attempts[0].Reason != "killed by signal 9 (SIGKILL)" {
		return fmt.Errorf("a task that kills whoever runs it: %#v", err)
	}
	n, err := farmIndex.Call(ctx, 1)
	if n != 2 {
		return fmt.Errorf("a task after it: %d, %w", n, err)
	}
	return err
}
