package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pprun/pprun/comm"
)

const limitedTasks, limitedDone = 20, 10

// limitedTask ends at once, or only with the job.
var limitedTask = comm.Register("limited_task", func(ctx context.Context, id int) (int, error) {
	if id >= limitedDone {
		<-ctx.Done()
	}
	return id, ctx.Err()
})

// beLimited is a job whose time is over before its tasks are done. It says what it has got.
func beLimited() {
	comm.Main(func(ctx context.Context, c *comm.Comm) error {
		var futures []*comm.Future[int]
		for id := range limitedTasks {
			futures = append(futures, limitedTask.Submit(ctx, id))
		}
		if _, err := comm.Gather(ctx, futures[:limitedDone]...); err != nil {
			return err
		}
		fmt.Println("ready")
		<-ctx.Done()
		finished, sum := 0, 0
		for _, f := range futures {
			if id, err := f.Get(context.Background()); err == nil {
				finished, sum = finished+1, sum+id
			}
		}
		fmt.Printf("%d tasks of %d are finished, their sum is %d\n", finished, len(futures), sum)
		return c.WriteStats(os.Stdout)
	}, comm.Slots(1))
}

// TestTimeLimit ends a job as a batch system does when its time is over: with TERM to pprun, as timeout does, or to all
// processes at once, as Slurm does. Rank 0 still says which results it has, and nothing is left.
func TestTimeLimit(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, who := range map[string]func(all []int) []int{
		"pprun":         func(all []int) []int { return all[:1] },
		"all processes": func(all []int) []int { return all },
		"the last first": func(all []int) []int {
			slices.Reverse(all)
			return all
		},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(exe, "-q", "-n", "3", exe, "limited")
			mark := "PPRUN_TEST_LIMITED=" + t.TempDir()
			cmd.Env = append(os.Environ(), "PPRUN_TEST_MAIN=1", "GORACE=atexit_sleep_ms=0", mark)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			late := time.AfterFunc(eventually, func() { cmd.Process.Kill() })
			defer late.Stop()
			lines := bufio.NewReader(stdout)
			if line, err := lines.ReadString('\n'); line != "ready\n" {
				t.Fatalf("%q, %v", line, err)
			}
			for _, pid := range who(marked(t, mark)) {
				syscall.Kill(pid, syscall.SIGTERM)
			}
			rest, _ := io.ReadAll(lines)
			cmd.Wait()
			r := result{string(rest), stderr.String(), cmd.ProcessState.ExitCode()}
			r.want(t, 143, `(?m)^pprun: ended by SIGTERM: \d ranks? ended\n\z`)
			if !strings.HasPrefix(r.stdout, "10 tasks of 20 are finished, their sum is 45\n") || !regexp.MustCompile(`(?m)^ +10 \|`).MatchString(r.stdout) {
				t.Errorf("it prints\n%s", r.stdout)
			}
			if left := marked(t, mark); len(left) > 0 {
				t.Errorf("processes %v are left", left)
			}
		})
	}
}

// marked lists the processes that have this in their environment, in the order of their numbers.
func marked(t *testing.T, mark string) (pids []int) {
	t.Helper()
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		t.Skip("needs /proc")
	}
	for _, d := range dirs {
		var pid int
		if _, err := fmt.Sscan(d.Name(), &pid); err != nil {
			continue
		}
		env, _ := os.ReadFile("/proc/" + d.Name() + "/environ")
		if bytes.Contains(env, []byte(mark)) {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}
