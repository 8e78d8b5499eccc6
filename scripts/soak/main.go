// Command soak submits tasks of one to five milliseconds while somebody kills the ranks that run them, and checks that
// nothing of that is to be seen: every task has one result, the right one, and one call of its callback.
//
//	pprun --hosts hosts.txt --respawn 1000 ./soak -tasks 1000000 </dev/tty
//
// Rank 0 goes on until its standard input has ended and so many tasks are done. The test in this directory does the
// killing, on four hosts of scripts/lab: for 15 seconds, or, with SOAK=long, until 300 ranks are killed and 1,000,000
// tasks are done.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pprun/pprun/comm"
)

var (
	tasks = flag.Int("tasks", 1_000_000, "how many tasks at least")
	dir   = flag.String("busy", "", "directory of files RANK.HOST.PID that say whether a process is running a task")
)

// window is how many tasks are under way.
const window = 1000

// busy is 1 while this process runs a task. What lies in a mapped file outlives a kill -9.
var busy = make([]byte, 1)

// work sleeps, so that the ranks of many hosts find room on one machine. It returns what shows that it was this task.
var work = comm.Register("soak_work", func(_ context.Context, id int) (int, error) {
	busy[0] = 1
	defer func() { busy[0] = 0 }()
	time.Sleep(time.Millisecond + time.Duration(id*7919%4001)*time.Microsecond)
	return ^id, nil
})

func main() {
	flag.Parse()
	if err := tellIn(*dir); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
	comm.Main(soak, comm.Slots(1)) // one at a time, for busy
}

// tellIn keeps busy in a file of this process.
func tellIn(dir string) error {
	rank := os.Getenv("PPRUN_RANK")
	if dir == "" || rank == "" || rank == "0" {
		return nil
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%s.%s.%d", rank, host, os.Getpid())))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(1); err != nil {
		return err
	}
	busy, err = syscall.Mmap(int(f.Fd()), 0, 1, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	return err
}

// counts are how often each task had a result and a call of its callback.
type counts struct{ results, callbacks []int32 }

func soak(ctx context.Context, c *comm.Comm) error {
	began := time.Now()
	ended := make(chan struct{})
	go func() {
		io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	fmt.Printf("soak: %d slots\n", c.Slots())
	var n counts
	var queue []*comm.Future[int] // of callbacks: done when those have returned
	for id, over := 0, false; id < *tasks || !over; id++ {
		n.results, n.callbacks = append(n.results, 0), append(n.callbacks, 0)
		f := work.Submit(ctx, id)
		queue = append(queue, f.Then(func(r int, err error) {
			if err == nil && r == ^id {
				n.callbacks[id]++ // callbacks never run at the same time
			}
		}))
		for len(queue) >= window {
			if err := n.take(ctx, queue[0]); err != nil {
				return err
			}
			queue = queue[1:]
		}
		select {
		case <-ended:
			over = true
		default:
		}
	}
	for _, f := range queue {
		if err := n.take(ctx, f); err != nil {
			return err
		}
	}
	return n.report(time.Since(began))
}

// take waits for a result and counts it.
func (n *counts) take(ctx context.Context, f *comm.Future[int]) error {
	r, err := f.Get(ctx)
	switch id := ^r; {
	case err != nil:
		return err
	case id < 0 || id >= len(n.results):
		return fmt.Errorf("a result of task %d, which there is not", id)
	default:
		n.results[id]++
	}
	return nil
}

// report says how often there was other than one result and one call of the callback.
func (n *counts) report(took time.Duration) error {
	var wrong int
	for id := range n.results {
		if n.results[id] != 1 || n.callbacks[id] != 1 {
			if wrong++; wrong <= 10 {
				fmt.Printf("soak: task %d: %d results, %d callbacks\n", id, n.results[id], n.callbacks[id])
			}
		}
	}
	fmt.Printf("soak: %d tasks in %.0f s, %.0f /s: %d without exactly one result and one callback\n",
		len(n.results), took.Seconds(), float64(len(n.results))/took.Seconds(), wrong)
	if wrong > 0 {
		return errors.New("results were lost or came twice")
	}
	return nil
}
