package hostfile

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Expand must agree with the tools that people write their expressions for, on what both understand.

func TestExpandLikeScontrol(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "slurm.conf")
	if err := os.WriteFile(conf, []byte("ClusterName=x\nSlurmctldHost=localhost\nAuthType=auth/none\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SLURM_CONF", conf)
	list := func(names []string) string { return strings.Join(names, "\n") }
	compare(t, "scontrol", "slurm-client", []string{""}, list, "show", "hostnames") // it refuses suffixes
}

// Nodesets are sets: nodeset sorts its names and gives each once.
func TestExpandLikeNodeset(t *testing.T) {
	compare(t, "nodeset", "clustershell", []string{"", "", "-ib"}, set, "-e", "-S", "\n")
}

func set(names []string) string {
	names = slices.Clone(names)
	slices.Sort(names)
	return strings.Join(slices.Compact(names), "\n")
}

// compare has a tool of a Debian package expand random expressions, and compares what normal makes of both results.
func compare(t *testing.T, tool, debian string, suffixes []string, normal func([]string) string, args ...string) {
	path, err := exec.LookPath(tool)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no %s: install %s", tool, debian)
		}
		t.Skipf("no %s (Debian package %s)", tool, debian)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for range 25 { // a process each
		expr := randomExpression(random, suffixes)
		names, err := Expand(expr)
		if err != nil {
			t.Fatalf("seed %d: %s: %v", seed, expr, err)
		}
		cmd := exec.CommandContext(ctx, path, append(args, expr)...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v: %s", cmd, err, stderr.String())
		}
		if got, want := normal(names), normal(strings.Fields(string(out))); got != want {
			t.Fatalf("seed %d: %s: got\n%s\n%s says\n%s", seed, expr, got, tool, want)
		}
	}
}

// randomExpression writes an expression of the shared grammar: names, ranges in one or two dimensions, zero padding
// whose width both bounds have, suffixes, repetitions.
func randomExpression(r *rand.Rand, suffixes []string) string {
	var items []string
	for range 1 + r.IntN(4) {
		var b strings.Builder
		b.WriteString([]string{"node", "n", "rack-", "gpu"}[r.IntN(4)])
		dimensions := r.IntN(3)
		if dimensions == 0 {
			fmt.Fprintf(&b, "%d", r.IntN(1000))
		}
		for d := range dimensions {
			if d > 0 {
				b.WriteString([]string{"n", "-x", "s"}[r.IntN(3)])
			}
			b.WriteString(randomRange(r))
		}
		if dimensions > 0 {
			b.WriteString(suffixes[r.IntN(len(suffixes))])
		}
		items = append(items, b.String())
	}
	return strings.Join(items, ",")
}

func randomRange(r *rand.Rand) string {
	width := 1 + r.IntN(4) // zeros before every number of these brackets, or none at all
	if r.IntN(2) == 0 {
		width = 0
	}
	var parts []string
	low := r.IntN(12)
	for range 1 + r.IntN(3) {
		high := low + r.IntN(12)
		if width > 0 { // numbers longer than the width are understood differently
			low, high = min(low, limit(width)), min(high, limit(width))
		}
		part := fmt.Sprintf("%0*d", width, low)
		if high > low {
			part += fmt.Sprintf("-%0*d", width, high)
		}
		parts = append(parts, part)
		low = high + 1 + r.IntN(90)
	}
	if r.IntN(4) == 0 {
		slices.Reverse(parts)
	}
	return "[" + strings.Join(parts, ",") + "]"
}

// limit is the largest number of so many digits.
func limit(width int) int {
	n := 1
	for range width {
		n *= 10
	}
	return n - 1
}
