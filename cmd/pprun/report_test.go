package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/pprun/pprun/comm"
	"github.com/pprun/pprun/comm/coll"
	"github.com/pprun/pprun/launch"
)

// beOrphan is a rank of a program whose rank 0 is killed while the others wait for its word, and then fail as programs do.
func beOrphan() {
	ctx := context.Background()
	c, err := comm.Init(ctx)
	if err == nil && c.Rank() == 0 {
		err = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	if err == nil {
		_, err = coll.Recv[int](ctx, c, 0, 1)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// readReport reads the report of a job and checks what is true of every one. processes is how many it is to have; -1: any
// number.
func readReport(t *testing.T, path string, status, processes int) *launch.Report {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var r launch.Report
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		t.Fatalf("%v in\n%s", err, b)
	}
	if r.Version != 1 || r.Job == "" || len(r.Command) == 0 || r.Start.IsZero() || r.Wall <= 0 || r.Status != status || processes >= 0 && len(r.Processes) != processes {
		t.Errorf("not what is expected of status %d and %d processes:\n%s", status, processes, b)
	}
	for _, p := range r.Processes {
		if !slices.Contains(r.Nodes[p.Node].Ranks, p.Rank) || p.Host != r.Nodes[p.Node].Host || (p.PID == 0) != (p.Start == nil) || p.PID == 0 && p.Lost == "" {
			t.Errorf("rank %d: %+v", p.Rank, p)
		}
		if p.Lost == "" && (p.End == nil || p.Start.Before(r.Start) || p.End.Before(*p.Start) || p.Wall <= 0 || p.MaxRSS <= 0 || (p.Exit == nil) == (p.Signal == "")) {
			t.Errorf("the end of rank %d: %+v", p.Rank, p)
		}
	}
	return &r
}

// rootCause returns the process that the report says is the root cause.
func rootCause(t *testing.T, r *launch.Report) *launch.Process {
	t.Helper()
	var roots []*launch.Process
	for _, p := range r.Processes {
		if p.RootCause {
			roots = append(roots, p)
		}
	}
	if len(roots) != 1 {
		t.Fatalf("%d root causes among %d processes, want 1", len(roots), len(r.Processes))
	}
	return roots[0]
}

// reporting runs pprun with a report, which it returns the path of.
type reporting func(t *testing.T, args ...string) (result, string)

func TestReport(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var run reporting = func(t *testing.T, args ...string) (result, string) {
		dir := t.TempDir()
		report := filepath.Join(dir, "report.json")
		cmd := exec.Command(exe, slices.Concat([]string{"-q", "--report", report}, args)...)
		cmd.Env = append(os.Environ(), "PPRUN_TEST_MAIN=1", "GORACE=atexit_sleep_ms=0")
		var stdout, stderr strings.Builder
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		cmd.Run()
		if files, _ := os.ReadDir(dir); len(files) != 1 {
			t.Errorf("files besides the report: %v", files)
		}
		return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}, report
	}
	t.Run("success", func(t *testing.T) {
		_, path := run(t, "-n", "2", "sh", "-c", "seq 30 >&2")
		for _, p := range readReport(t, path, 0, 2).Processes {
			if p.RootCause || *p.Exit != 0 || len(p.Stderr) != 20 || p.Stderr[19] != "30" || p.Role != "plain" {
				t.Errorf("%+v", p)
			}
		}
	})
	t.Run("many fail at once", func(t *testing.T) { failAtOnce(t, run, t.TempDir()) })
	t.Run("rank 0 is killed", func(t *testing.T) { killHub(t, run, exe) })
}

// failAtOnce is a job whose ranks fail by themselves at the same time: one line, and the first of them is the reason.
// They wait for each other in dir.
func failAtOnce(t *testing.T, run reporting, dir string) {
	r, path := run(t, "-n", "8", "sh", "-c", `touch $0/$PPRUN_RANK; until [ $(ls $0 | wc -l) = 8 ]; do sleep .01; done; exit $((PPRUN_RANK + 10))`, dir)
	report := readReport(t, path, r.status, 8)
	p := rootCause(t, report)
	if r.status != 10+p.Rank || *p.Exit != r.status {
		t.Errorf("status %d: %+v", r.status, p)
	}
	r.want(t, r.status, fmt.Sprintf(`^pprun: rank %d on %s \(pid %d, after \S+\): exit status %d(: job aborted, \d other ranks? ended(, ranks? \S+ failed as well)?)?\n$`,
		p.Rank, p.Host, p.PID, r.status))
	for _, other := range report.Processes {
		if !other.Killed && other.End.Before(*p.End) {
			t.Errorf("rank %d ended before rank %d, the root cause", other.Rank, p.Rank)
		}
	}
}

// killHub is a job whose rank 0 is killed: it is the reason, although the others fail for it at the same moment.
func killHub(t *testing.T, run reporting, program string) {
	r, path := run(t, "-n", "8", program, "orphan")
	r.want(t, 137, `(?m)^pprun: rank 0 on \S+ \(pid \d+, after \S+\): killed by signal 9 \(SIGKILL\): job aborted, [1-7] other ranks? ended$`)
	report := readReport(t, path, 137, 8)
	if p := rootCause(t, report); p.Rank != 0 || p.Signal != "SIGKILL" || p.Killed {
		t.Errorf("%+v", p)
	}
	for _, p := range report.Processes {
		if p.Role != "spmd" || p.Rank > 0 && !p.Orphaned && !p.Killed {
			t.Errorf("%+v", p)
		}
	}
}

// Between hosts word of the ends does not come in their order.
func remoteReport(t *testing.T, l lab) {
	var run reporting = func(t *testing.T, args ...string) (result, string) {
		name := "report" + filepath.Base(t.Name()) + ".json"
		r := l.in(t).run(append([]string{"-q", "--report", l.Path(name)}, args...)...)
		return r, filepath.Join(l.Shared(), name)
	}
	t.Run("many fail at once", func(t *testing.T) {
		if err := os.Mkdir(filepath.Join(l.Shared(), "failing"), 0o777); err != nil {
			t.Fatal(err)
		}
		failAtOnce(t, run, l.Path("failing"))
	})
	t.Run("rank 0 is killed", func(t *testing.T) { killHub(t, run, l.pprun) })
	t.Run("agent is killed", func(t *testing.T) {
		r, path := run(t, "sh", "-c", "[ $PPRUN_RANK = 5 ] && kill -9 $PPID; exec sleep 60")
		r.want(t, 125, `^pprun: lost node3: its agent is gone.*: ranks 4-5 ran there: job aborted\n$`)
		for i, n := range readReport(t, path, 125, 8).Nodes {
			if lost := i == 2; n.RootCause != lost || lost != strings.HasPrefix(n.Failure, "lost node3: ") {
				t.Errorf("%+v", n)
			}
		}
	})
}
