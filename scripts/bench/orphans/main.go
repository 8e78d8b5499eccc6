// Command orphans does the same harm to jobs of pprun, Open MPI's mpirun and MPICH's mpiexec.hydra on hosts of scripts/lab,
// in turn, and says who noticed when, and what each left behind.
//
//	go run ./scripts/bench/orphans [-rounds 3] [-only F1,F12]
//
// It needs root for the hosts, and the packages mpich and openmpi-bin. Each job has two ranks on each of four hosts. A rank
// is a single process that waits, or a shell that waits for a child, beside another child in a session of its own.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/pprun/pprun/scripts/bench/bench"
)

var (
	rounds = flag.Int("rounds", 3, "rounds of each fault with each launcher")
	only   = flag.String("only", "", "numbers of faults, with commas between; empty: all")
)

func main() {
	flag.Parse()
	if flag.Arg(0) == "rank" {
		wait()
	}
	if err := bench.WithLab(hosts, "root", run); err != nil {
		fmt.Fprintln(os.Stderr, "orphans:", err)
		os.Exit(1)
	}
}

// wait is the single process: USR1 has it fail.
func wait() {
	orders := make(chan os.Signal, 1)
	signal.Notify(orders, syscall.SIGUSR1)
	fmt.Println("ready")
	<-orders
	os.Exit(3)
}

func run(lab *bench.Lab, pprun string) (err error) {
	if single[0], err = lab.InstallSelf(); err != nil {
		return err
	}
	launchers := launchersWith(pprun)
	for _, l := range launchers {
		if _, err := lab.Run(limit, append(slices.Clone(l.argv), "true")...); err != nil { // the first copies pprun to the hosts
			return fmt.Errorf("%s: %w", l.name, err)
		}
	}
	var rows []row
	for _, f := range faults {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), f.id) {
			continue
		}
		cells := make([]cell, len(launchers))
		for range *rounds {
			for i, l := range launchers {
				o, err := harm(lab, l, f)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", f.name, l.name, err)
				}
				cells[i] = append(cells[i], o)
			}
		}
		rows = append(rows, row{f, cells})
	}
	print(os.Stdout, launchers, rows)
	return nil
}
