// Package bench measures things side by side: every round runs each entry once, in turn, so that a noisy machine is
// noisy for all; the medians and their ratios are what counts.
//
//	rows := bench.Compare(5, entries)
//	bench.Print(os.Stdout, "ms", rows)
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Entry is one thing to measure.
type Entry struct {
	Name  string
	Shown string // the command, as a reader would type it
	Run   func() (float64, error)
}

// Row is what the rounds of one entry gave.
type Row struct {
	Entry
	Values []float64 // of the rounds that succeeded
	Err    error     // of the last round that failed
	Failed int
}

// Median returns the middle value, 0 when no round succeeded.
func (r Row) Median() float64 {
	if len(r.Values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(r.Values))
	return v[len(v)/2]
}

// Compare runs all entries in turn, rounds times. An entry that failed twice is left out of later rounds.
func Compare(rounds int, entries []Entry) []Row {
	rows := make([]Row, len(entries))
	for i, e := range entries {
		rows[i].Entry = e
	}
	for range rounds {
		for i := range rows {
			r := &rows[i]
			if r.Failed == 2 {
				continue
			}
			v, err := r.Run()
			if err != nil {
				r.Err = err
				r.Failed++
				continue
			}
			r.Values = append(r.Values, v)
		}
	}
	return rows
}

// Print writes a table: median, lowest and highest value in the given unit, and the first row's median as a multiple of
// this row's (below 1: the first row has the lower figure).
func Print(w io.Writer, unit string, rows []Row) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(tw, "\tmedian %s\tlow\thigh\t%s / this\tcommand\n", unit, rows[0].Name)
	for _, r := range rows {
		if len(r.Values) == 0 {
			fmt.Fprintf(tw, "%s\t%v\t\t\t\t%s\n", r.Name, r.Err, r.Shown)
			continue
		}
		fmt.Fprintf(tw, "%s\t%.4g\t%.4g\t%.4g\t%.2f\t%s", r.Name, r.Median(), slices.Min(r.Values), slices.Max(r.Values), rows[0].Median()/r.Median(), r.Shown)
		if r.Failed > 0 {
			fmt.Fprintf(tw, "  (%d rounds failed: %v)", r.Failed, r.Err)
		}
		fmt.Fprintln(tw)
	}
	tw.Flush()
}

// Milliseconds measures how long a command takes from start to end, in milliseconds. A run longer than limit is ended
// and is an error.
func Milliseconds(limit time.Duration, name string, args ...string) (float64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = time.Second
	start := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(start)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return 0, fmt.Errorf("hung for %v", limit)
	}
	if err != nil {
		return 0, fmt.Errorf("%w: %.200s", err, out)
	}
	return float64(took.Microseconds()) / 1000, nil
}

// WithPprun builds pprun into a directory that is there while f runs, and can be read by all.
func WithPprun(f func(dir, pprun string) error) error {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	pprun := filepath.Join(dir, "pprun")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", pprun, "github.com/pprun/pprun/cmd/pprun")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build pprun: %w\n%s", err, out)
	}
	return f(dir, pprun)
}

// Shown is a command as a reader would type it.
func Shown(argv ...string) string {
	return strings.Join(append([]string{filepath.Base(argv[0])}, argv[1:]...), " ")
}
