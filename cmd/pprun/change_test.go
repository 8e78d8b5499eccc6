package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/pprun/pprun/comm"
	"github.com/pprun/pprun/launch"
	"github.com/pprun/pprun/scripts/lab/labtest"
)

// beChanging is a program that launches itself and then changes where it runs: servers or hosts, names, directory.
func beChanging(args []string) {
	where := launch.Servers(args[1])
	if args[0] == "hosts" {
		where = launch.Hosts(args[1])
	}
	comm.Main(changing, comm.Via(where, launch.Local(1)))
}

// changingTask tells where it ran, in a file before, and waits until it may end.
var changingTask = comm.Register("changing", func(ctx context.Context, until string) (string, error) {
	c, _ := comm.FromContext(ctx)
	if err := os.WriteFile(filepath.Join(private(), fmt.Sprintf("%s.%d", until, c.Rank())), nil, 0o666); err != nil {
		return "", err
	}
	if until != "" {
		awaitFile(until)
	}
	return fmt.Sprintf("rank %d, attempt %d", c.Rank(), comm.Attempt(ctx)), nil
})

// awaitFile waits until somebody has made a file.
func awaitFile(name string) {
	for {
		if _, err := os.Stat(filepath.Join(private(), name)); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// changing begins on head and node1. It adds node3 and what is not there, removes node1 while that has tasks, and adds it
// again.
func changing(ctx context.Context, c *comm.Comm) error {
	about := func() {
		fmt.Print(c.Size(), " ranks, ", c.Slots(), " slots:")
		for _, n := range c.Nodes() {
			fmt.Print(" ", n.Name, n.Ranks)
		}
		fmt.Println()
	}
	on := func(name string) {
		fmt.Println(changingTask.With(comm.OnNode(name)).Call(ctx, ""))
	}
	about()
	fmt.Println(c.AddNodes(ctx, os.Args[4], os.Args[5], "node1"))
	about()
	on("node3")
	on("node1")

	var slow []*comm.Future[string]
	for range 12 { // more than run at once
		slow = append(slow, changingTask.Submit(ctx, "go"))
	}
	for rank := range 3 {
		awaitFile(fmt.Sprintf("go.%d", rank))
	}
	removed, all := make(chan error, 1), c.Slots()
	go func() { removed <- c.RemoveNode(ctx, "node1") }()
	for c.Slots() == all {
		time.Sleep(10 * time.Millisecond)
	}
	if len(removed) > 0 {
		return errors.New("node1 was removed with a task")
	}
	if err := os.WriteFile(filepath.Join(private(), "go"), nil, 0o666); err != nil {
		return err
	}
	where, err := comm.Gather(ctx, slow...)
	slices.Sort(where)
	fmt.Println(len(where), slices.Compact(where), err)
	fmt.Println(<-removed)
	about()
	on("node1")
	fmt.Println(c.AddNodes(ctx, "node1"))
	about()
	on("node1")
	fmt.Println(c.RemoveNode(ctx, "head"))
	fmt.Println(c.RemoveNode(ctx, "node7"))
	return nil
}

// changed runs such a program. Its first node is node1 with one slot; node3, with one, and bad are to be added.
func changed(t *testing.T, l lab, how, node1, node3, bad, why string) {
	t.Helper()
	dir, err := os.MkdirTemp(l.Shared(), "changing")
	if err != nil {
		t.Fatal(err)
	}
	os.Chmod(dir, 0o777)
	j := &tasking{dir: dir}
	j.start(t, l.Exec("head", l.pprun, "changing", how, node1, node3, bad, l.Path(filepath.Base(dir))))
	done := time.AfterFunc(time.Minute, func() { j.cmd.Process.Kill() })
	defer done.Stop()
	j.cmd.Wait()
	r := result{j.stdout.String(), j.stderr.String(), j.cmd.ProcessState.ExitCode()}
	r.want(t, 0, `^$`)
	want := `^2 ranks, \d slots: head\[0\] node1\[1\]
comm: AddNodes\(.*\): node1: is in the job already
` + why + `
3 ranks, \d slots: head\[0\] node1\[1\] node3\[2\]
rank 2, attempt 0 <nil>
rank 1, attempt 0 <nil>
12 \[rank 0, attempt 0 rank 1, attempt 0 rank 2, attempt 0\] <nil>
<nil>
3 ranks, \d slots: head\[0\] node3\[2\]
 comm: rank 1 \(node1\) is lost: its node was removed from the job; no rank is left that may run the task
<nil>
\d ranks, \d slots: head\[0\] node3\[2\] node1\[3.*\]
rank [3-9], attempt 0 <nil>
comm: RemoveNode\("head"\): rank 0 is there
comm: RemoveNode\("node7"\): the nodes are head, node3, node1
$`
	if !regexp.MustCompile(want).MatchString(r.stdout) {
		t.Errorf("stdout:\n%s", r.stdout)
	}
	for _, host := range []string{"head", "node1", "node3"} {
		l.WaitGone(host, func(p labtest.Process) bool {
			return len(p.Args) > 1 && (p.Args[1] == "changing" || p.Args[1] == "agent" || p.Args[1] == "guard")
		}, 10*time.Second)
	}
}
