package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pprun/pprun/scripts/lab/labtest"
)

// TestManyRanks brings many ranks up under low limits of open files.
func TestManyRanks(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	hello := filepath.Join(t.TempDir(), "hello")
	build := exec.Command("go", "build", "-o", hello, "../../examples/hello")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	here := func(t *testing.T, limit, ranks int) {
		report := filepath.Join(t.TempDir(), "report.json")
		cmd := exec.Command("sh", "-c", `ulimit -n $0 && exec "$@"`, fmt.Sprint(limit), exe, "-q", "-n", fmt.Sprint(ranks), "--report", report, hello)
		cmd.Env = append(os.Environ(), "PPRUN_TEST_MAIN=1")
		greet(t, cmd, ranks)
		t.Logf("rank 0 took %d MB", readReport(t, report, 0, -1).Processes[0].MaxRSS>>20)
	}
	t.Run("300 here with ulimit -n 1024", func(t *testing.T) { here(t, 1024, 300) })
	if !longLoad {
		return // the rest takes minutes on a machine with much to do: .ci/run long
	}
	t.Run("2000 here", func(t *testing.T) { here(t, 20_000, 2000) })
	t.Run("2000 behind an agent", func(t *testing.T) {
		l := lab{Lab: labtest.Up(t, labtest.Config{Hosts: 2}), t: t}
		if l.Mode() != labtest.Root {
			t.Skip("needs hosts with limits of their own: root mode only")
		}
		l.pprun = l.Install("pprun", exe)
		cmd := l.Exec("head", "sh", "-c", `ulimit -n 20000 && exec "$@"`, "sh", l.pprun, "-q", "--host", "node1:1,node2:2000", "--report", l.Path("report.json"), l.Install("hello", hello))
		greet(t, cmd, 2001)
		t.Logf("rank 0 took %d MB", readReport(t, filepath.Join(l.Shared(), "report.json"), 0, -1).Processes[0].MaxRSS>>20)
	})
}

// greet runs a job of hello, of which every rank has to print its line.
func greet(t *testing.T, cmd *exec.Cmd, ranks int) {
	t.Helper()
	began := time.Now()
	out, err := cmd.CombinedOutput()
	said := patient.ReplaceAllString(string(out), "")
	if n := strings.Count(said, "hello from rank "); err != nil || n != ranks || strings.Count(said, "\n") != n {
		t.Fatalf("%d of %d ranks: %v: %.4000s", n, ranks, err, said)
	}
	t.Logf("%d ranks came and went in %v", ranks, time.Since(began))
}
