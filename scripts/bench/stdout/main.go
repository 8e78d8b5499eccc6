// Command stdout compares how fast pprun, MPICH's mpiexec.hydra and Open MPI's mpirun relay 200 MB of one process's
// standard output, interleaved in one run.
//
//	go run ./scripts/bench/stdout [-rounds 5]
//
// It needs the packages mpich and openmpi-bin.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/pprun/pprun/scripts/bench/bench"
)

const size = 200_000_000

var rounds = flag.Int("rounds", 5, "rounds")

func main() {
	flag.Parse()
	if err := bench.WithPprun(compare); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func compare(_, pprun string) error {
	for name, print := range map[string]string{
		"short lines": "yes 'a line of output as programs print it, of about seventy characters' | head -c 200000000",
		"no lines":    "head -c 200000000 /dev/zero",
	} {
		fmt.Printf("\n200 MB of %s through the launcher\n", name)
		bench.Print(os.Stdout, "MB/s", bench.Compare(*rounds, []bench.Entry{
			entry("pprun", pprun, "-n", "1", "sh", "-c", print),
			entry("hydra", "mpiexec.hydra", "-n", "1", "sh", "-c", print),
			entry("mpirun", "mpirun", "--allow-run-as-root", "-n", "1", "sh", "-c", print),
			entry("no launcher", "sh", "-c", print),
		}))
	}
	return nil
}

// entry reads what the command prints, through a pipe, and counts it.
func entry(name string, argv ...string) bench.Entry {
	return bench.Entry{Name: name, Shown: bench.Shown(argv...), Run: func() (float64, error) {
		cmd := exec.Command("timeout", append([]string{"60"}, argv...)...)
		out, err := cmd.StdoutPipe()
		if err != nil {
			return 0, err
		}
		start := time.Now()
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		n, copyErr := io.CopyBuffer(struct{ io.Writer }{io.Discard}, out, make([]byte, 1<<20))
		if err := cmd.Wait(); err != nil {
			return 0, err
		}
		if copyErr != nil || n != size {
			return 0, fmt.Errorf("%d bytes of %d came: %v", n, size, copyErr)
		}
		return size / 1e6 / time.Since(start).Seconds(), nil
	}}
}
