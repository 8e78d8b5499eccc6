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

// beHanging is a job whose rank 1 hangs as no Go program should: a loop that its runtime cannot interrupt keeps the garbage
// collector waiting, and that all else.
func beHanging() {
	ctx := context.Background()
	c, err := comm.Init(ctx)
	if err == nil && c.Rank() == 1 {
		go runtime.GC()
		for n := 0; ; n++ {
		}
	}
	if err == nil {
		coll.Recv[int](ctx, c, 1, 7)
	}
	os.Exit(1)
}

// TestHungRank has a rank hang that is not stopped: the hub misses it, and its agent ends it.
func TestHungRank(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "--heartbeat-timeout", "1s", "-H", "localhost:3", "-x", "GODEBUG=asyncpreemptoff=1", exe, "hanging")
	cmd.Env = append(os.Environ(), "PPRUN_TEST_MAIN=1", "GORACE=atexit_sleep_ms=0")
	cmd.Dir = filepath.Dir(exe)
	r := lab{Lab: new(labtest.Lab), t: t}.finish(cmd)
	r.want(t, 125, `pprun: rank 1 on \S+ \(pid \d+, after \S+\): hung: rank 0 on \S+ heard nothing of it for 1s, and it had to be killed: job aborted, 2 other ranks ended\n$`)
}
