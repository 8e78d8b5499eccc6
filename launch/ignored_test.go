//go:build linux

package launch_test

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/pprun/pprun/launch/agent"
)

// atWork starts the program idle, through a shell's words if there are any; goOn has it end well.
func atWork(t *testing.T, shell string) (r *run, goOn func()) {
	t.Helper()
	r = begin(t, "idle", "line")
	r.cmd.Args = append([]string{"sh", "-c", shell + `exec "$0" "$@"`, r.cmd.Path}, r.cmd.Args[1:]...)
	r.cmd.Path = "/bin/sh"
	in, err := r.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := r.cmd.StdoutPipe()
	if err == nil {
		err = r.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if line := make([]byte, 8); true {
		if _, err := out.Read(line); err != nil || string(line) != "at work\n" {
			t.Errorf("read %q, %v", line, err)
		}
	}
	return r, func() {
		t.Helper()
		in.Write([]byte("go\n"))
		r.cmd.Wait()
		r.ended(0, "")
	}
}

// As with nohup: what is ignored when a program begins stays so.
func TestAttachedIgnores(t *testing.T) {
	r, goOn := atWork(t, `trap "" INT; `)
	r.cmd.Process.Signal(syscall.SIGINT)
	goOn()
}

// A launcher has its threads before its ranks could use up the processes of their user: without one more it would crash.
func TestThreadsAreReady(t *testing.T) {
	want := 24
	if most := agent.OwnLimits().Processes; most > 0 && most < 1000 {
		t.Logf("only %d processes are allowed here: threads are not made before they are needed", most)
		want = 1
	}
	r, goOn := atWork(t, "")
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", r.cmd.Process.Pid))
		if len(threads) >= want {
			break
		}
		if err != nil || time.Now().After(end) {
			t.Fatalf("%d threads, %v", len(threads), err)
		}
	}
	goOn()
}
