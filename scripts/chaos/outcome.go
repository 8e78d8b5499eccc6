package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Outcome is how a round went.
type Outcome struct {
	Round  Round
	Hit    bool          // the victim was there
	Status int           // exit status of pprun
	Clean  time.Duration // from the last that was done to it until nothing was left of the job
	Wrong  []string      // what must not be

	Tree           string // processes of the job when the victim was hit
	Stdout, Stderr string // of pprun
	Diary          string // what happened when
	Evidence       string // what processes were at that should have ended
}

// report tells of a round that failed, or of any.
func (o Outcome) report(w io.Writer, c Config) {
	if len(o.Wrong) == 0 {
		if c.Verbose {
			missed := ""
			if !o.Hit {
				missed = ", came too late"
			}
			fmt.Fprintf(w, "ok %s: exit status %d, clean after %.2f s%s\n", o.Round, o.Status, o.Clean.Seconds(), missed)
		}
		return
	}
	again := fmt.Sprintf("go run ./scripts/chaos -seed %d -round %d", c.Seed, o.Round.Number)
	if c.Heartbeat > 0 {
		again += fmt.Sprintf(" -heartbeat %v", c.Heartbeat)
	}
	fmt.Fprintf(w, "FAILED %s\n  again: %s\n", o.Round, again)
	for _, what := range o.Wrong {
		fmt.Fprintf(w, "  wrong: %s\n", what)
	}
	fmt.Fprintf(w, "  exit status %d\n  stdout: %q\n  stderr: %s\n  processes before:\n%s", o.Status, last(o.Stdout), strings.ReplaceAll(o.Stderr, "\n", "\n    "), o.Tree)
	fmt.Fprintf(w, "  diary:\n%s  evidence:\n%s", o.Diary, o.Evidence)
}

// last is the end of what was printed.
func last(s string) string { return s[max(0, len(s)-200):] }

// summarize prints how long each kind of victim and fault took until nothing was left.
func summarize(w io.Writer, all []Outcome) {
	took := map[string][]time.Duration{}
	bad := map[string]int{}
	for _, o := range all {
		kind := fmt.Sprintf("%s | %s", o.Round.Victim, o.Round.fault())
		if !o.Hit {
			kind = "none: the job had ended |"
		}
		took[kind] = append(took[kind], o.Clean)
		if len(o.Wrong) > 0 {
			bad[kind]++
		}
	}
	tw := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	fmt.Fprintln(tw, "| victim | fault\t| rounds\t| failed\t| clean after, median\t| max\t|")
	fmt.Fprintln(tw, "|---|---\t|---\t|---\t|---\t|---\t|")
	var kinds []string
	for k := range took {
		kinds = append(kinds, k)
	}
	slices.Sort(kinds)
	for _, k := range kinds {
		d := slices.Sorted(slices.Values(took[k]))
		fmt.Fprintf(tw, "| %s\t| %d\t| %d\t| %.2f s\t| %.2f s\t|\n", k, len(d), bad[k], d[len(d)/2].Seconds(), d[len(d)-1].Seconds())
	}
	tw.Flush()
}

// fault is what is done, with its undoing.
func (r Round) fault() string {
	f := r.Fault.String()
	if r.For > 0 {
		f += ", undone"
	}
	return strings.Replace(f, " the host of", "", 1)
}
