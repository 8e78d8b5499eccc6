package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/scripts/lab/labtest"
)

// Config says what to play.
type Config struct {
	Seed      uint64
	Rounds    int           // they have the numbers 1 to Rounds
	Labs      int           // that play at the same time
	Round     int           // only this one; 0: all
	Heartbeat time.Duration // --heartbeat-timeout; 0: pprun's own
	Until     time.Time     // no round begins later; zero: all do
	Verbose   bool
}

// silence is how long a link may be silent before its other end is given up.
func (c Config) silence() time.Duration {
	if c.Heartbeat > 0 {
		return c.Heartbeat
	}
	return frame.Timeout
}

// nodes are the hosts of a lab beside head.
const nodes = 2

// Run plays the rounds, tells w of them, and returns how many have failed. t is for labs that do not come up.
func Run(t testing.TB, c Config, w io.Writer) (failed int) {
	numbers := make([]int, c.Rounds)
	for i := range numbers {
		numbers[i] = i + 1
	}
	if c.Round > 0 {
		numbers, c.Labs = []int{c.Round}, 1
	}
	fmt.Fprintf(w, "chaos: seed %d, %d rounds in %d labs, links may be silent for %v\n", c.Seed, len(numbers), c.Labs, c.silence())
	dir, err := os.MkdirTemp("", "chaos-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	build(t, dir)

	next := make(chan int)
	var mu sync.Mutex // of what follows
	var all []Outcome
	var labs sync.WaitGroup
	for range min(c.Labs, len(numbers)) {
		lab := labtest.Up(t, labtest.Config{Hosts: nodes, Mode: labtest.Root})
		for _, program := range []string{"pprun", "soak", "chaos"} {
			lab.Install(program, filepath.Join(dir, program))
		}
		labs.Go(func() {
			for n := range next {
				o := play(lab, c, choose(c, n))
				mu.Lock()
				all = append(all, o)
				o.report(w, c)
				mu.Unlock()
			}
		})
	}
	for _, n := range numbers {
		if c.Until.IsZero() || time.Now().Before(c.Until) {
			next <- n
		}
	}
	close(next)
	labs.Wait()
	for _, o := range all {
		if len(o.Wrong) > 0 {
			failed++
		}
	}
	slices.SortFunc(all, func(a, b Outcome) int { return a.Round.Number - b.Round.Number })
	summarize(w, all)
	fmt.Fprintf(w, "chaos: seed %d: %d rounds, %d failed\n", c.Seed, len(all), failed)
	return failed
}

// build builds what the hosts need.
func build(t testing.TB, dir string) {
	t.Helper()
	const module = "github.com/pprun/pprun/"
	cmd := exec.Command("go", "build", "-o", dir+"/", module+"cmd/pprun", module+"scripts/soak", module+"scripts/chaos")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
}
