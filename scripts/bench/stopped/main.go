// Stopped measures what a stopped rank costs the others: how long their tasks take, one after another, while the last rank
// is stopped by SIGSTOP with a thousand tasks on its way, beside how long they take when nobody is. That is measured twice
// in every round, so that the ratio of the two shows how much of the first ratio is noise. Medians are what counts, and what
// a task takes of rank 0's processors, which other programs disturb less than its time.
//
//	go run ./cmd/pprun -q -n 64 ./scripts/bench/stopped
//
// All ranks must run on one machine.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/pprun/pprun/comm"
)

var (
	rounds = flag.Int("rounds", 25, "rounds")
	tasks  = flag.Int("tasks", 5000, "tasks of a measurement")
)

var (
	length = comm.Register("length", func(_ context.Context, b []byte) (int, error) { return len(b), nil })
	pid    = comm.Register("pid", func(context.Context, struct{}) (int, error) { return os.Getpid(), nil })
)

func main() {
	flag.Parse()
	comm.Main(run, comm.Slots(1))
}

func run(ctx context.Context, c *comm.Comm) error {
	if c.Size() < 3 {
		return fmt.Errorf("%d ranks: want 3 or more", c.Size())
	}
	victim, err := pid.With(comm.OnRanks(c.Size()-1)).Call(ctx, struct{}{})
	if err != nil {
		return err
	}
	defer syscall.Kill(victim, syscall.SIGCONT)
	fmt.Println("microseconds, p50 p99 processor:\n  nobody is stopped     the last is stopped   nobody is stopped")
	var beside, noise ratios
	for range *rounds {
		var m [3]times
		for i, s := range []syscall.Signal{0, syscall.SIGSTOP, 0} {
			if m[i], err = measure(ctx, c, victim, s); err != nil {
				return err
			}
			fmt.Printf("  %5.0f %7.0f %6.1f", m[i].p50, m[i].p99, m[i].cpu)
		}
		fmt.Println()
		beside, noise = beside.add(m[1], m[0]), noise.add(m[2], m[0])
	}
	fmt.Printf("beside a stopped rank: %v; when nobody is, once more: %v\n", beside, noise)
	return nil
}

// times of tasks, in microseconds.
type times struct{ p50, p99, cpu float64 }

// ratios of the times of many rounds.
type ratios struct{ p50, p99, cpu []float64 }

func (r ratios) add(a, b times) ratios {
	return ratios{append(r.p50, a.p50/b.p50), append(r.p99, a.p99/b.p99), append(r.cpu, a.cpu/b.cpu)}
}

func (r ratios) String() string {
	return fmt.Sprintf("p50 %.2f, p99 %.2f, processor %.2f times", median(r.p50), median(r.p99), median(r.cpu))
}

// measure measures tasks on all ranks but the first and the last. The last has a thousand of its own, which it gets after
// the signal.
func measure(ctx context.Context, c *comm.Comm, victim int, s syscall.Signal) (times, error) {
	if err := syscall.Kill(victim, s); err != nil {
		return times{}, err
	}
	var held []*comm.Future[int]
	for range 1000 {
		held = append(held, length.With(comm.OnRanks(c.Size()-1)).Submit(ctx, make([]byte, 1000)))
	}
	time.Sleep(time.Second) // for them to be where they go
	took, before := make([]float64, *tasks), processor()
	for i := range took {
		f := length.With(comm.OnRanks(1 + rand.N(c.Size()-2)))
		began := time.Now()
		if _, err := f.Call(ctx, nil); err != nil {
			return times{}, err
		}
		took[i] = float64(time.Since(began).Nanoseconds()) / 1000
	}
	cpu := processor() - before
	syscall.Kill(victim, syscall.SIGCONT)
	_, err := comm.Gather(ctx, held...)
	slices.Sort(took)
	return times{took[len(took)/2], took[len(took)*99/100], float64(cpu.Microseconds()) / float64(*tasks)}, err
}

// processor is what this process has had of the processors.
func processor() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func median(v []float64) float64 { return slices.Sorted(slices.Values(v))[len(v)/2] }
