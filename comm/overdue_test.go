package comm_test

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pprun/pprun/comm"
	"github.com/pprun/pprun/comm/commtest"
)

func init() {
	programs["deaf"] = func() {
		comm.Main(func(ctx context.Context, c *comm.Comm) error {
			_, err := deaf.Call(context.WithoutCancel(ctx), 0, comm.OnRanks(1), comm.Timeout(time.Millisecond), comm.KillAfter(time.Millisecond))
			fmt.Println(err)
			<-ctx.Done() // else the end of the job may be that of rank 1
			return nil
		})
	}
}

var deaf = comm.Register("deaf", func(context.Context, int) (int, error) { select {} })

// TestKillAfter has a rank end itself because a task does not heed its Timeout; the task has failed by that, not by the loss.
func TestKillAfter(t *testing.T) {
	a := newAgent(t, 2, "unix")
	zero, one := a.start(0, "deaf"), a.start(1, "deaf")
	if code := one.exit(t); code != 1 || !strings.Contains(one.err.String(), "task deaf of rank 0 still runs 1ms after its Timeout of 1ms: KillAfter ends this rank") {
		t.Errorf("rank 1: exit status %d, %s", code, &one.err)
	}
	if err := zero.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := zero.exit(t); code != 0 || !strings.Contains(zero.out.String(), "it still ran 1ms after its Timeout of 1ms, and its rank was ended: context deadline exceeded") {
		t.Errorf("rank 0: exit status %d, %s%s", code, &zero.out, &zero.err)
	}
}

// TestExplainSilence has a rank that does not answer, and one that is lost.
func TestExplainSilence(t *testing.T) {
	job := commtest.Start(t, 4)
	job.Faults(func(f commtest.Frame) commtest.Action {
		if f.Rank == 2 && f.Kind == "answer" {
			return commtest.Drop
		}
		return commtest.Pass
	})
	job.Kill(3)
	if _, err := double.Call(job.Context(), 1, comm.OnRanks(1)); err != nil {
		t.Fatal(err)
	}
	text := job.Comm(0).Explain()
	for _, want := range []string{"\nrank 2 (node2) does not answer: nothing was heard of it for ", "\nrank 3 (node3) is lost: ", "; it may come back\n", "\nrank 1 (node1) runs 0 tasks on 1 slot\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("Explain says\n%swithout %q", text, want)
		}
	}
}
