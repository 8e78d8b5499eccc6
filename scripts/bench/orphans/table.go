package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// cell is what the rounds of one fault gave with one launcher.
type cell []outcome

// row is one fault.
type row struct {
	fault
	cells []cell
}

// print writes a table in Markdown.
func print(w io.Writer, launchers []launcher, rows []row) {
	fmt.Fprint(w, "| fault |")
	for _, l := range launchers {
		fmt.Fprintf(w, " %s |", l.name)
	}
	fmt.Fprintln(w, "\n|---"+strings.Repeat("|---", len(launchers))+"|")
	for _, r := range rows {
		fmt.Fprintf(w, "| %s: %s |", r.id, r.name)
		for _, c := range r.cells {
			fmt.Fprintf(w, " %s |", c)
		}
		fmt.Fprintln(w)
	}
}

// String says when the launcher ended, how, and what was left of the job, as the median, and in the worst round.
func (c cell) String() string {
	var ended, clean []time.Duration
	var hung int
	status := map[int]bool{}
	left := map[string]int{}
	for _, o := range c {
		if o.ended == 0 {
			hung++
		} else {
			ended, status[o.status] = append(ended, o.ended), true
		}
		if o.clean > 0 {
			clean = append(clean, o.clean)
		}
		for kind, n := range o.left {
			left[kind] = max(left[kind], n)
		}
	}
	var parts []string
	if len(ended) > 0 {
		parts = append(parts, fmt.Sprintf("ends after %s with %s", median(ended), statuses(status)))
	}
	if hung > 0 {
		parts = append(parts, fmt.Sprintf("does not end within %v", limit))
		if len(ended) > 0 {
			parts[len(parts)-1] += fmt.Sprintf(" (%d of %d)", hung, len(c))
		}
	}
	if len(left) == 0 {
		return strings.Join(append(parts, "nothing left after "+median(clean)), "; ")
	}
	var kinds []string
	for _, k := range slices.Sorted(maps.Keys(left)) {
		kinds = append(kinds, fmt.Sprintf("%d %s", left[k], k))
	}
	return strings.Join(append(parts, "**left: "+strings.Join(kinds, ", ")+"**"), "; ")
}

func median(ds []time.Duration) string {
	if len(ds) == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f s", slices.Sorted(slices.Values(ds))[len(ds)/2].Seconds())
}

func statuses(set map[int]bool) string {
	var parts []string
	for _, s := range slices.Sorted(maps.Keys(set)) {
		if s < 0 {
			parts = append(parts, "KILL")
		} else {
			parts = append(parts, fmt.Sprint(s))
		}
	}
	return strings.Join(parts, " or ")
}
