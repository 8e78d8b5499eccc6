package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/pprun/pprun/comm"
	"github.com/pprun/pprun/comm/place"
	"github.com/pprun/pprun/launch"
	"github.com/pprun/pprun/scripts/lab/labtest"
)

// beHalfway is a rank of a job that serves tasks, but for rank 1, which never comes to do so: it has said so, and taken its
// place. With a file of hosts it launches itself there.
func beHalfway(args []string) {
	if os.Getenv(place.EnvRank) != "1" {
		comm.Main(func(context.Context, *comm.Comm) error { return nil }, comm.Via(launch.Hosts(args[0]), launch.Local(1)))
	}
	_, err := place.Take(context.Background(), place.Serve)
	if err == nil {
		err = os.WriteFile(filepath.Join(private(), "up.1"), nil, 0o666)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	select {}
}

// lostBeforeAllJoined has a host end whose rank serves tasks while rank 0 waits for all ranks: nothing can be redone
// elsewhere yet.
func lostBeforeAllJoined(t *testing.T, l lab) {
	if l.Mode() == labtest.Loopback {
		t.Skip("hosts are one machine")
	}
	defer l.Host("node2").Boot()
	for i, argv := range [][]string{
		{l.pprun, "--host", "node1:1,node2:1", l.pprun, "halfway", "-"},
		{l.pprun, "--on-fail", "continue", "--host", "node1:1,node2:1", l.pprun, "halfway", "-"},
		{l.pprun, "halfway", l.file("node2", "node2 slots=1\n")},
	} {
		if i > 0 {
			l.Host("node2").Boot()
		}
		name := fmt.Sprintf("halfway.%d", i)
		dir := filepath.Join(l.Shared(), name)
		if err := os.Mkdir(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		cmd := l.Exec("head", argv[0], append(argv[1:], l.Path(name))...)
		var stderr said
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		until(t, &stderr, "rank 1", there(dir, "up.1"))
		l.Host("node2").Kill()
		awaitEnd(t, cmd, &stderr)
		result{stderr: stderr.String(), status: cmd.ProcessState.ExitCode()}.want(t, 125, `^pprun: lost node2: [^\n]*: rank 1 ran there: job aborted\n$`)
	}
}
