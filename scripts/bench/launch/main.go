// Command launch compares how long pprun, MPICH's mpiexec.hydra and Open MPI's mpirun take to start processes that do
// nothing, on this machine and over ssh to 4, 16 and 64 hosts of scripts/lab, interleaved in one run.
//
//	go run ./scripts/bench/launch [-rounds 7] [-local=false] [-ssh=false]
//
// It needs the packages mpich and openmpi-bin, and root for the hosts. All three use the same key exchange.
package main

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/pprun/pprun/scripts/bench/bench"
)

const (
	limit    = 20 * time.Second
	farLimit = time.Minute // over ssh
)

var (
	hydra  = []string{"mpiexec.hydra"}
	ompi   = []string{"mpirun", "--allow-run-as-root", "--oversubscribe"}
	rounds = flag.Int("rounds", 7, "rounds of each comparison")
	local  = flag.Bool("local", true, "compare on this machine")
	ssh    = flag.Bool("ssh", true, "also compare over ssh to hosts of scripts/lab")
)

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	if *local {
		if err := bench.WithPprun(onThisMachine); err != nil {
			return err
		}
	}
	if *ssh {
		return bench.WithLab(64, "root", overSSH)
	}
	return nil
}

func onThisMachine(_, pprun string) error {
	for _, n := range []int{2, 64, 256} {
		fmt.Printf("\n%d processes on this machine\n", n)
		args := []string{"-n", strconv.Itoa(n), "true"}
		bench.Print(os.Stdout, "ms", bench.Compare(*rounds, []bench.Entry{
			entry("pprun", append([]string{pprun}, args...)),
			entry("hydra", append(hydra, args...)),
			entry("mpirun", append(ompi, args...)),
		}))
	}
	return nil
}

func entry(name string, argv []string) bench.Entry {
	return bench.Entry{Name: name, Shown: bench.Shown(argv...), Run: func() (float64, error) {
		return bench.Milliseconds(limit, argv[0], argv[1:]...)
	}}
}

// overSSH runs the launchers on a host of their own, which reaches up to 64 others by ssh.
func overSSH(lab *bench.Lab, pprun string) error {
	if _, err := lab.Run(limit, "sh", "-c", "mkdir -p .ssh; echo 'KexAlgorithms curve25519-sha256' >.ssh/config"); err != nil {
		return err
	}
	for _, c := range []struct{ hosts, slots, rounds int }{{4, 2, *rounds}, {16, 1, *rounds}, {64, 1, min(*rounds, 5)}} {
		var list []string
		for i := range c.hosts {
			list = append(list, fmt.Sprintf("node%d:%d", i+1, c.slots))
		}
		hosts := strings.Join(list, ",")
		n := strconv.Itoa(c.hosts * c.slots)
		entries := []bench.Entry{
			lab.Entry("pprun", farLimit, pprun, "--host", hosts, "true"),
			lab.Entry("hydra", farLimit, "mpiexec.hydra", "-launcher", "ssh", "-hosts", hosts, "-n", n, "true"),
			lab.Entry("mpirun", farLimit, "mpirun", "--allow-run-as-root", "-H", hosts, "-n", n, "true"),
		}
		if _, err := entries[0].Run(); err != nil { // the first copies pprun to the hosts
			return err
		}
		for i := range entries {
			entries[i].Shown = strings.ReplaceAll(entries[i].Shown, hosts, list[0]+",...")
		}
		fmt.Printf("\n%s processes on %d hosts over ssh, warm\n", n, c.hosts)
		bench.Print(os.Stdout, "ms", bench.Compare(c.rounds, entries))
	}
	return nil
}
