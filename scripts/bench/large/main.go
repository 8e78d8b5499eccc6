// Command large compares what it costs to give 100 MB to each of 40 tasks: shared, submitted as the same argument again
// and again, and as an argument that differs a little each time. Then it passes one long argument and one long result
// between two ranks, and shows that neither lies in rank 0, through which they go.
//
//	go run ./cmd/pprun -n 4 ./scripts/bench/large
//	go run ./cmd/pprun -n 4 ./scripts/bench/large -huge 5368709120
//
// Tasks run on ranks 2 and 3. The second form needs three times as much free memory.
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/pprun/pprun/comm"
	"github.com/pprun/pprun/scripts/bench/bench"
)

const (
	rounds = 5
	tasks  = 40
)

var (
	size = flag.Int("size", 100_000_000, "bytes of the argument of 40 tasks")
	huge = flag.Int("huge", 256<<20, "bytes of the one long argument and result")
)

var (
	shared = comm.Register("shared", func(ctx context.Context, r comm.Ref[[]byte]) (int, error) {
		b, err := r.Get(ctx)
		return len(b), err
	})
	given = comm.Register("given", func(_ context.Context, b []byte) (int, error) { return len(b), nil })

	// between runs on rank 1, which has no slot for what it submits itself.
	between = comm.Register("between", func(ctx context.Context, n int) (took [2]time.Duration, err error) {
		c, _ := comm.FromContext(ctx)
		if c.Rank() != 1 {
			return took, nil
		}
		start := time.Now()
		if sum, err := check.Call(ctx, marked(n)); err != nil || sum != n {
			return took, fmt.Errorf("an argument of %d bytes arrived with %d: %w", n, sum, err)
		}
		took[0] = time.Since(start)
		debug.FreeOSMemory()
		start = time.Now()
		b, err := produce.Call(ctx, n)
		if err != nil || sound(b) != n {
			return took, fmt.Errorf("a result of %d bytes arrived with %d: %w", n, sound(b), err)
		}
		took[1] = time.Since(start)
		return took, nil
	})
	check   = comm.Register("check", func(_ context.Context, b []byte) (int, error) { return sound(b), nil })
	produce = comm.Register("produce", func(_ context.Context, n int) ([]byte, error) { return marked(n), nil })
)

func main() {
	flag.Parse()
	slots := 1
	if rank := os.Getenv("PPRUN_RANK"); rank == "0" || rank == "1" {
		slots = 0
	}
	comm.Main(run, comm.Slots(slots))
}

func run(ctx context.Context, c *comm.Comm) error {
	if c.Size() < 3 {
		return fmt.Errorf("want 3 ranks or more: go run ./cmd/pprun -n 4 ./scripts/bench/large")
	}
	b := make([]byte, *size)
	fmt.Printf("%d tasks with %.1f MB each, tasks on ranks 2 to %d\n", tasks, float64(*size)/1e6, c.Size()-1)
	entries := []bench.Entry{
		{Name: "Share", Shown: "shared.Submit(ctx, ref)", Run: func() (float64, error) { return share(ctx, b) }},
		{Name: "same argument", Shown: "given.Submit(ctx, b)", Run: func() (float64, error) { return submit(ctx, b, func() {}) }},
		{Name: "others", Shown: "b[0]++; given.Submit(ctx, b)", Run: func() (float64, error) { return submit(ctx, b, func() { b[0]++ }) }},
	}
	moved := make([]int64, len(entries))
	for i, e := range entries {
		entries[i].Run = func() (float64, error) {
			before := written()
			v, err := e.Run()
			moved[i] = written() - before
			return v, err
		}
	}
	bench.Print(os.Stdout, "ms", bench.Compare(rounds, entries))
	for i, e := range entries {
		fmt.Printf("%s: rank 0 wrote %d MB\n", e.Name, moved[i]/1_000_000)
	}

	b = nil
	debug.FreeOSMemory()
	resetPeak()
	before := resident("VmRSS")
	took, err := between.OnAll(ctx, *huge)
	if err != nil {
		return err
	}
	fmt.Printf("%d MiB from rank 1 to rank 2 in %v, back in %v; rank 0 had %d MiB before, %d MiB at most\n", *huge>>20,
		took[1][0].Round(time.Millisecond), took[1][1].Round(time.Millisecond), before>>10, resident("VmHWM")>>10)
	return nil
}

func share(ctx context.Context, b []byte) (float64, error) {
	start := time.Now()
	b[1]++ // or the ranks would have it from the last round
	r, err := comm.Share(ctx, b)
	if err != nil {
		return 0, err
	}
	defer r.Release(ctx)
	futures := make([]*comm.Future[int], tasks)
	for i := range futures {
		futures[i] = shared.Submit(ctx, r)
	}
	_, err = comm.Gather(ctx, futures...)
	return milliseconds(start), err
}

func submit(ctx context.Context, b []byte, change func()) (float64, error) {
	start := time.Now()
	b[1]++
	futures := make([]*comm.Future[int], tasks)
	for i := range futures {
		change()
		futures[i] = given.Submit(ctx, b)
	}
	_, err := comm.Gather(ctx, futures...)
	return milliseconds(start), err
}

func milliseconds(start time.Time) float64 { return float64(time.Since(start).Microseconds()) / 1000 }

// marked makes bytes most of which are never touched, and sound counts them if they are as marked left them.
func marked(n int) []byte {
	b := make([]byte, n)
	for at := 0; at+8 <= n; at += 32 << 20 {
		binary.LittleEndian.PutUint64(b[at:], uint64(at))
	}
	return b
}

func sound(b []byte) int {
	for at := 0; at+8 <= len(b); at += 32 << 20 {
		if binary.LittleEndian.Uint64(b[at:]) != uint64(at) {
			return at
		}
	}
	return len(b)
}

// written returns how many bytes this process has written, to sockets most of all.
func written() int64 { return int64(field("/proc/self/io", "wchar")) }

// resident returns a size of this process in KiB, resetPeak lets VmHWM begin anew.
func resident(name string) int { return field("/proc/self/status", name) }

func resetPeak() { _ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) }

func field(path, name string) (n int) {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), name+":"); ok {
			fmt.Sscan(value, &n)
		}
	}
	return n
}
