package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/pprun/pprun/comm"
	"github.com/pprun/pprun/comm/coll"
	"github.com/pprun/pprun/scripts/lab/labtest"
)

// beHanging is a job of which one rank hangs as no Go program should: a loop that its runtime cannot interrupt keeps the
// garbage collector waiting, and that all else.
func beHanging(rank int) {
	ctx := context.Background()
	c, err := comm.Init(ctx)
	if err == nil && c.Rank() == rank {
		go runtime.GC()
		for n := 0; ; n++ {
		}
	}
	if err == nil {
		coll.Recv[int](ctx, c, 3-rank-c.Rank(), 7) // of the other that does not hang
	}
	os.Exit(1)
}

// TestHungRank has a rank hang that is not stopped: the hub misses it, and its agent ends it. If it is rank 0, the others do.
func TestHungRank(t *testing.T) {
	for _, c := range []struct{ rank, want string }{
		{"1", `rank 1 on \S+ \(pid \d+, after \S+\): hung: rank 0 on \S+ heard nothing of it for 1s, and it had to be killed`},
		{"0", `rank [12] on \S+ \(pid \d+, after \S+\): rank 0 \(pid \d+\) hangs: nothing was heard of it for 1s`},
	} {
		t.Run(c.rank, func(t *testing.T) { hang(t, c.rank, c.want) })
	}
}

func hang(t *testing.T, rank, want string) {
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "--heartbeat-timeout", "1s", "-H", "localhost:3", "-x", "GODEBUG=asyncpreemptoff=1", exe, "hanging", rank)
	cmd.Env = append(os.Environ(), "PPRUN_TEST_MAIN=1", "GORACE=atexit_sleep_ms=0")
	cmd.Dir = filepath.Dir(exe)
	r := lab{Lab: new(labtest.Lab), t: t}.finish(cmd)
	r.want(t, 125, `pprun: `+want+`: job aborted, 2 other ranks ended(, ranks? \S+ failed as well)?\n$`) // of the loss, before they were ended
}
