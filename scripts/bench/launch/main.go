// Command launch compares how long pprun, MPICH's mpiexec.hydra and Open MPI's mpirun take to start processes that do
// nothing, on this machine and over ssh to four hosts of scripts/lab, interleaved in one run.
//
//	go run ./scripts/bench/launch [-rounds 7] [-ssh=false]
//
// It needs the packages mpich and openmpi-bin, and root for the hosts. All three use the same key exchange.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/pprun/pprun/scripts/bench/bench"
)

const limit = 20 * time.Second

var (
	hydra  = []string{"mpiexec.hydra"}
	ompi   = []string{"mpirun", "--allow-run-as-root", "--oversubscribe"}
	rounds = flag.Int("rounds", 7, "rounds of each comparison")
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
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	pprun, err := bench.Pprun(dir)
	if err != nil {
		return err
	}
	for _, n := range []int{2, 64, 256} {
		fmt.Printf("\n%d processes on this machine\n", n)
		args := []string{"-n", strconv.Itoa(n), "true"}
		bench.Print(os.Stdout, "ms", bench.Compare(*rounds, []bench.Entry{
			entry("pprun", append([]string{pprun}, args...)),
			entry("hydra", append(hydra, args...)),
			entry("mpirun", append(ompi, args...)),
		}))
	}
	if !*ssh {
		return nil
	}
	return overSSH(dir, pprun)
}

func entry(name string, argv []string) bench.Entry {
	shown := append([]string{filepath.Base(argv[0])}, argv[1:]...)
	return bench.Entry{Name: name, Shown: strings.Join(shown, " "), Run: func() (float64, error) {
		return bench.Milliseconds(limit, argv[0], argv[1:]...)
	}}
}

// overSSH runs the launchers on a host of their own, which reaches four others by ssh.
func overSSH(dir, pprun string) error {
	lab := func(args ...string) *exec.Cmd {
		cmd := exec.Command("scripts/lab/lab", args...)
		cmd.Env = append(os.Environ(), "LAB_DIR="+filepath.Join(dir, "lab"))
		return cmd
	}
	if out, err := lab("up", "4").CombinedOutput(); err != nil {
		return fmt.Errorf("lab up: %w: %s", err, out)
	}
	defer lab("down").Run()
	if out, err := exec.Command("cp", pprun, filepath.Join(dir, "lab", "shared", "pprun")).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	config := "mkdir -p /root/.ssh; printf 'KexAlgorithms curve25519-sha256\\n' > /root/.ssh/config; " +
		"printf 'node%d slots=2\\n' 1 2 3 4 > /shared/hosts"
	if out, err := lab("exec", "head", "sh", "-c", config).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	remote := func(name string, argv ...string) bench.Entry {
		e := entry(name, append([]string{"scripts/lab/lab", "exec", "head"}, argv...))
		e.Shown = strings.Join(argv, " ")
		e.Run = func() (float64, error) {
			cmd := lab(append([]string{"exec", "head", "timeout", "20"}, argv...)...)
			start := time.Now()
			out, err := cmd.CombinedOutput()
			if err != nil {
				return 0, fmt.Errorf("%w: %.200s", err, out)
			}
			return float64(time.Since(start).Microseconds()) / 1000, nil
		}
		return e
	}
	const hosts = "node1:2,node2:2,node3:2,node4:2"
	entries := []bench.Entry{
		remote("pprun", "/shared/pprun", "--hosts", "/shared/hosts", "true"),
		remote("hydra", "mpiexec.hydra", "-launcher", "ssh", "-hosts", hosts, "-n", "8", "true"),
		remote("mpirun", "mpirun", "--allow-run-as-root", "-H", hosts, "-n", "8", "true"),
	}
	if _, err := entries[0].Run(); err != nil { // the first copies pprun to the hosts
		return err
	}
	fmt.Printf("\n8 processes on 4 hosts over ssh, warm\n")
	bench.Print(os.Stdout, "ms", bench.Compare(*rounds, entries))
	return nil
}
