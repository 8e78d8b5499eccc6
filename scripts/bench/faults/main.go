// Command faults measures what pprun promises of faults, on hosts of scripts/lab: how long after a fault pprun says so,
// ends, and nothing of the job is left on any host.
//
//	go run ./scripts/bench/faults [-rounds 5] [-only F1,F9] [-long]
//
// It needs root for the hosts. Jobs have two ranks on each of four hosts. A fault is injected when all ranks are up, from
// outside, by the number of a process or by scripts/lab; with -long those too that take 15 seconds by default.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/pprun/pprun/scripts/bench/bench"
)

var (
	rounds = flag.Int("rounds", 5, "rounds of each fault")
	only   = flag.String("only", "", "numbers of faults, with commas between; empty: all")
	long   = flag.Bool("long", false, "also those that take 15 seconds")
)

func main() {
	flag.Parse()
	var err error
	if flag.Arg(0) == "rank" {
		err = beRank(flag.Arg(1))
	} else {
		err = bench.WithLab(hosts, "root", run)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

func run(lab *bench.Lab, pprun string) error {
	program, err := lab.InstallSelf()
	if err != nil {
		return err
	}
	b := &bed{lab, pprun, program}
	if _, err := lab.Run(time.Minute, pprun, "--host", "node[1-4]:2", program, "rank", "nothing"); err != nil { // copies both
		return err
	}
	var rows []row
	for _, f := range faults {
		if f.long && !*long || *only != "" && !slices.Contains(strings.Split(*only, ","), f.id) {
			continue
		}
		r := row{fault: f}
		for range *rounds {
			m, err := b.measure(f)
			if err != nil {
				fmt.Fprintf(os.Stderr, "%s %s: %v\n", f.id, f.name, err)
				r.failed++
				continue
			}
			r.told, r.ended, r.clean, r.line = append(r.told, m.told), append(r.ended, m.ended), append(r.clean, m.clean), m.line
		}
		rows = append(rows, r)
	}
	print(os.Stdout, rows)
	return nil
}

// row is what the rounds of one fault gave; times of what did not happen are 0.
type row struct {
	fault
	told, ended, clean []time.Duration
	line               string // of the last round
	failed             int
}

func print(w io.Writer, rows []row) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "\tfault\ttold: median, most\tpprun ends\tall clean\twords")
	for _, r := range rows {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%.120s", r.id, r.name, times(r.told), times(r.ended), times(r.clean), r.line)
		if r.failed > 0 {
			fmt.Fprintf(tw, "  (%d rounds failed)", r.failed)
		}
		fmt.Fprintln(tw)
	}
	tw.Flush()
}

// times writes the median and the longest of some times.
func times(all []time.Duration) string {
	if len(all) == 0 || slices.Max(all) == 0 {
		return "-"
	}
	v := slices.Sorted(slices.Values(all))
	return fmt.Sprintf("%d ms, %d", v[len(v)/2].Milliseconds(), v[len(v)-1].Milliseconds())
}
