package comm_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pprun/pprun/comm"
)

func TestExplain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		world(t, 3, func(ctx context.Context, c *comm.Comm) error {
			if c.Rank() == 0 {
				for range 9 {
					naps.Submit(ctx, time.Hour)
				}
				for range 3 {
					double.Submit(ctx, 1, comm.OnRanks(1, 2))
				}
				delegates.Submit(ctx, time.Hour, comm.OnRanks(2), comm.Priority(1))
			}
			time.Sleep(30 * time.Minute)
			text := c.Explain()
			for _, want := range []string{
				"the hub has 13 tasks: 3 with ranks, 10 waiting\n",
				"  3 of double: the first for 30m0s; they are for rank 1, 2, with 2 slots, none free\n",
				"  1 of delegates: the first for 30m0s; they are for rank 2, with 1 slot, none free\n",
				"  6 of naps: the first for 30m0s; they are for any rank, with 3 slots, none free\n",
				"rank 2 (node2) runs 1 task on 1 slot\n  naps of rank 0 for 30m0s\n",
				"rank 0 (node0) waits for 13 tasks that it submitted: 9 of naps, 3 of double, 1 of delegates\n",
			} {
				if !strings.Contains(text, want) {
					return fmt.Errorf("Explain says\n%swithout %q", text, want)
				}
			}
			if c.Rank() == 0 {
				return c.Wait(ctx)
			}
			return nil
		})
	})
}

// TestExplainOfTaskThatWaits shows a task without its slot, and one that does not heed its context.
func TestExplainOfTaskThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		world(t, 1, func(ctx context.Context, c *comm.Comm) error {
			f := delegates.Submit(ctx, time.Hour)
			time.Sleep(2 * time.Minute)
			deaf := naps.Submit(ctx, time.Hour)
			text := c.Explain()
			if want := "  delegates of rank 0 for 2m0s, waiting for other tasks\n  naps of rank 0 for 1m0s\n"; !strings.Contains(text, want) {
				return fmt.Errorf("Explain says\n%swithout %q", text, want)
			}
			f.Cancel()
			time.Sleep(time.Second)
			text = c.Explain()
			for _, want := range []string{
				"  delegates of rank 0 for 2m1s, waiting for a slot to go on, though its context has ended\n",
				"  naps of rank 0 for 1m1s, though its context has ended\n",
			} {
				if !strings.Contains(text, want) {
					return fmt.Errorf("Explain says\n%swithout %q", text, want)
				}
			}
			deaf.Cancel()
			return nil
		})
	})
}

func init() {
	programs["held"] = func() {
		fmt.Fprintln(os.Stderr, "up") // and SIGQUIT does not end it any more
		comm.Main(func(ctx context.Context, c *comm.Comm) error {
			naps.Submit(ctx, time.Hour, comm.OnRanks(1))
			<-ctx.Done()
			return nil
		})
	}
}

// TestQuit asks two ranks by SIGQUIT, again and again until what is to come has come, and ends them by SIGTERM.
func TestQuit(t *testing.T) {
	a := newAgent(t, 2, "unix")
	var ranks []*exec.Cmd
	said := make([]*bufio.Reader, 2)
	for rank := range said {
		p := exec.Command(os.Args[0])
		p.Env = append(append(os.Environ(), "COMM_TEST_PROGRAM=held", "GORACE=atexit_sleep_ms=0"), a.environ(rank)...)
		stderr, err := p.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		said[rank] = bufio.NewReader(stderr)
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := said[rank].ReadString('\n'); line != "up\n" {
			t.Fatalf("rank %d: %q, %v", rank, line, err)
		}
		ranks = append(ranks, p)
		defer p.Process.Kill()
	}
	for rank, wants := range [][]string{
		{"the hub has 1 task: 1 with ranks, 0 waiting\n", "  naps of rank 0 for ", "goroutine "},
		{"rank 1 (n1) runs 1 task on 1 slot\n", "goroutine "},
	} {
		for len(wants) > 0 {
			ranks[rank].Process.Signal(syscall.SIGQUIT)
			for {
				line, err := said[rank].ReadString('\n')
				if err != nil {
					t.Fatalf("rank %d ended before it said %q: %v", rank, wants[0], err)
				}
				if len(wants) > 0 && strings.HasPrefix(line, wants[0]) {
					wants = wants[1:]
				}
				if strings.HasPrefix(line, "goroutine ") { // what follows is of no interest
					break
				}
			}
		}
	}
	ranks[0].Process.Signal(syscall.SIGTERM)
	for _, s := range said {
		go io.Copy(io.Discard, s)
	}
	for rank, p := range ranks {
		if err := p.Wait(); err != nil {
			t.Errorf("rank %d: %v", rank, err)
		}
	}
}
