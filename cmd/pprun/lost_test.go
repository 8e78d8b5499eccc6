package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pprun/pprun/comm"
	"github.com/pprun/pprun/scripts/lab/labtest"
)

// A tasking is a job whose tasks wait in a directory for leave to end: that is when ranks are lost.
//
//	rank.R.PID   process PID of rank R has begun a task
//	go           leave to end
type tasking struct {
	dir    string // as this test knows it
	cmd    *exec.Cmd
	stdout bytes.Buffer
	stderr said
}

// said is what somebody has said so far.
type said struct {
	mu   sync.Mutex
	text []byte // guarded by mu
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = append(s.text, b...)
	return len(b), nil
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.text)
}

const taskingTasks = 20

var taskingTask = comm.Register("tasking", func(ctx context.Context, id int) (int, error) {
	c, _ := comm.FromContext(ctx)
	dir := private()
	if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("rank.%d.%d", c.Rank(), os.Getpid())), nil, 0o666); err != nil {
		return 0, err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go")); !errors.Is(err, fs.ErrNotExist) {
			return id * id, err
		}
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-time.After(10 * time.Millisecond):
		}
	}
})

// beTasking is what a rank of such a job does.
func beTasking(opts ...comm.InitOption) {
	comm.Main(func(ctx context.Context, c *comm.Comm) error {
		var futures []*comm.Future[int]
		for id := range taskingTasks {
			futures = append(futures, taskingTask.Submit(ctx, id))
		}
		squares, err := comm.Gather(ctx, futures...)
		fmt.Println(squares)
		return err
	}, append(opts, comm.Slots(1))...)
}

// start starts the job with the command that pprun is given to run.
func (j *tasking) start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	j.cmd = cmd
	cmd.Stdout, cmd.Stderr = &j.stdout, &j.stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() }) // what a test that fails leaves is in the way of others
}

// busy waits until a process of a rank that is none of the given has begun a task, and returns its pid.
func (j *tasking) busy(t *testing.T, rank int, but ...string) (pid string) {
	t.Helper()
	prefix := fmt.Sprintf("rank.%d.", rank)
	for end := time.Now().Add(eventually); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		files, err := os.ReadDir(j.dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if pid, ok := strings.CutPrefix(f.Name(), prefix); ok && !slices.Contains(but, pid) {
				return pid
			}
		}
	}
	t.Fatalf("rank %d begins no task:\n%s", rank, &j.stderr)
	return ""
}

// hears waits until so many lines about losses are said.
func (j *tasking) hears(t *testing.T, losses int) {
	t.Helper()
	for end := time.Now().Add(eventually); strings.Count(patient.ReplaceAllString(oneMachine.ReplaceAllString(j.stderr.String(), ""), ""), "\n") < losses; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not %d lines:\n%s", losses, &j.stderr)
		}
	}
}

// end lets the tasks end and checks what comes of the job. Whoever exits with 0 has all results.
func (j *tasking) end(t *testing.T, status int, stderr string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(j.dir, "go"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	done := time.AfterFunc(time.Minute, func() { j.cmd.Process.Kill() })
	defer done.Stop()
	j.cmd.Wait()
	r := result{j.stdout.String(), oneMachine.ReplaceAllString(j.stderr.String(), ""), j.cmd.ProcessState.ExitCode()}
	r.want(t, status, stderr)
	var squares []int
	for id := range taskingTasks {
		squares = append(squares, id*id)
	}
	if want := fmt.Sprintln(squares); r.stdout != want && status == 0 {
		t.Errorf("stdout %q, want %q", r.stdout, want)
	}
}

func TestLostRank(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// Rank 0 says what a lost rank ran: on a busy machine that may be too late for the line, but not for the report.
	const killed = `pprun: rank 1 on \S+ \(pid \d+, after \S+(, running tasking)?\): killed by signal 9 \(SIGKILL\): `
	for _, c := range []struct {
		name   string
		flags  []string
		kills  int
		status int
		stderr string
	}{
		{"respawn", nil, 2, 0, `^` + killed + `its tasks are redone, started again \(1 of 3\)\n` + killed + `its tasks are redone, started again \(2 of 3\)\n$`},
		{"no respawn", []string{"--respawn", "0"}, 1, 0, `^` + killed + `its tasks are redone elsewhere\n$`},
		{"the last respawn", []string{"--respawn", "1"}, 2, 0, `^` + killed + `its tasks are redone, started again \(1 of 1\)\n` +
			killed + `its tasks are redone elsewhere, not started again after 1 time\n$`},
		{"abort", []string{"--on-fail", "abort"}, 1, 137, killed + `job aborted, 2 other ranks ended\n`},
		{"wait", []string{"--on-fail", "wait"}, 1, 137, `^` + killed + `its tasks are redone elsewhere\n$`},
		{"continue", []string{"--on-fail", "continue"}, 1, 0, `^` + killed + `its tasks are redone, started again \(1 of 3\)\n$`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			j := &tasking{dir: t.TempDir()}
			cmd := exec.Command(exe, slices.Concat(c.flags, []string{"--report", filepath.Join(j.dir, "report.json"), "-H", "localhost:3", exe, "tasking", j.dir})...)
			cmd.Env = append(os.Environ(), "PPRUN_TEST_MAIN=1", "GORACE=atexit_sleep_ms=0")
			j.start(t, cmd)
			j.busy(t, 2)
			var gone []string
			for range c.kills {
				pid := j.busy(t, 1, gone...)
				gone = append(gone, pid)
				n, _ := strconv.Atoi(pid)
				syscall.Kill(n, syscall.SIGKILL)
			}
			j.hears(t, c.kills)
			j.end(t, c.status, c.stderr)
			if c.name == "abort" { // the end of rank 0 may come first
				return
			}
			for _, p := range readReport(t, filepath.Join(j.dir, "report.json"), c.status, -1).Processes {
				if lost := p.Signal == "SIGKILL"; lost != slices.Equal(p.Tasks, []string{"tasking"}) {
					t.Errorf("%+v", p)
				}
			}
		})
	}
}

// A rank of an example is killed as soon as rank 0 has begun: the example prints what it always prints.
func TestLostRankOfAnExample(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	primes := filepath.Join(t.TempDir(), "primes")
	if out, err := exec.Command("go", "build", "-o", primes, "../../examples/primes").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	cmd := exec.Command(exe, "-n", "3", primes)
	cmd.Env = append(os.Environ(), "PPRUN_TEST_MAIN=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if first, err := lines.ReadString('\n'); err != nil || !strings.HasPrefix(first, "Starting with ") {
		t.Errorf("%q, %v", first, err)
	}
	found, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range found {
		env, _ := os.ReadFile(path)
		dir := filepath.Dir(path)
		if program, _ := os.Readlink(dir + "/exe"); program == primes && bytes.Contains(env, []byte("PPRUN_RANK=1\x00")) {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	rest, _ := io.ReadAll(lines)
	if err := cmd.Wait(); err != nil || !strings.Contains(string(rest), "Sum of primes below 100700 is 460217613\n") {
		t.Errorf("%v: %s", err, rest)
	}
}

// losses are ranks and nodes lost in the midst of tasks.
func losses(t *testing.T, l lab) {
	const again = `its tasks are redone, started again \(1 of 3\)`
	for i, c := range []struct {
		name   string
		dead   string // host that is down after it
		apart  bool   // node3 reaches the hub through a relay only
		trunks bool   // the hub may open few files, so that agents connect to it for their ranks
		lose   func(l lab, j *tasking)
		stderr string
	}{
		{"rank", "", false, false, func(l lab, j *tasking) { l.Output("node3", "kill", "-9", j.busy(l.t, 5)) },
			`^pprun: rank 5 on node3 \(pid \d+, after \S+(, running tasking)?\): killed by signal 9 \(SIGKILL\): ` + again + `\n$`},
		{"rank behind a relay", "", true, false, func(l lab, j *tasking) {
			pid := j.busy(l.t, 5)
			l.Output("node3", "kill", "-9", pid)
			j.busy(l.t, 5, pid)
		}, `pprun: rank 5 on node3 \(pid \d+, after \S+(, running tasking)?\): killed by signal 9 \(SIGKILL\): ` + again + `\n`},
		{"agent", "", false, false, func(l lab, j *tasking) {
			l.killOn("node3", func(p labtest.Process) bool { return len(p.Args) > 1 && p.Args[1] == "agent" })
		}, `^pprun: lost node3: its agent is gone.*: ranks 4-5 ran there: their tasks are redone elsewhere\n$`},
		{"node killed", "node4", false, false, func(l lab, j *tasking) { l.Host("node4").Kill() },
			`^pprun: lost node4: .*: ranks 6-7 ran there: their tasks are redone elsewhere\n$`},
		{"node without power", "node2", false, false, func(l lab, j *tasking) { l.Host("node2").Crash() },
			`^pprun: lost node2: .*: ranks 2-3 ran there: their tasks are redone elsewhere\n$`},
		{"network between nodes", "", false, false, func(l lab, j *tasking) {
			pid := j.busy(l.t, 5)
			l.Host("node1").Part("node3")
			j.busy(l.t, 5, pid) // through the relay
			l.Host("node1").Unpart("node3")
		}, `pprun: rank 5 on node3 \(pid \d+, after \S+, running tasking\): cut off from rank 0 on node1: (neither heard the other|it heard nothing of that) for 3s: ` + again + `\n`},
		{"rank behind its agent", "", false, true, func(l lab, j *tasking) {
			const links = "ss -Htn state established '( dport != :22 and sport != :22 )' | wc -l"
			if n := strings.TrimSpace(l.Output("head", "sh", "-c", links)); n != "2" {
				l.t.Errorf("%s connections to rank 0, want one of each agent", n)
			}
			pid := j.busy(l.t, 5)
			l.Output("node3", "kill", "-9", pid)
			j.busy(l.t, 5, pid)
		}, `^pprun: rank 5 on node3 \(pid \d+, after \S+(, running tasking)?\): killed by signal 9 \(SIGKILL\): ` + again + `\n$`},
		{"agent with ranks behind it", "", false, true, func(l lab, j *tasking) {
			l.killOn("node3", func(p labtest.Process) bool { return len(p.Args) > 1 && p.Args[1] == "agent" })
		}, `^pprun: lost node3: its agent is gone.*: ranks 4-7 ran there: their tasks are redone elsewhere\n$`},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := l.in(t)
			if l.Mode() == labtest.Loopback {
				t.Skip("hosts share their processes")
			}
			name := fmt.Sprintf("tasking%d", i)
			j := &tasking{dir: filepath.Join(l.Shared(), name)}
			if err := os.Mkdir(j.dir, 0o777); err != nil {
				t.Fatal(err)
			}
			os.Chmod(j.dir, 0o777) // whatever the umask
			if c.apart {
				l.Host("node1").Part("node3")
				defer l.Host("node1").Unpart("node3")
			}
			limit, hosts := "1024", "node[1-4]:2"
			if c.trunks {
				limit, hosts = "68", "head:1,node1:3,node3:4"
			}
			j.start(t, l.Exec("head", "sh", "-c", `ulimit -n $0; exec "$@"`, limit, l.pprun, "--heartbeat-timeout", "3s", "--host", hosts, l.pprun, "tasking", l.Path(name)))
			for rank := range 8 {
				j.busy(t, rank)
			}
			c.lose(l, j)
			j.hears(t, 1)
			j.end(t, 0, c.stderr)
			if c.dead != "" {
				l.Host(c.dead).Boot()
			}
		})
	}
}
