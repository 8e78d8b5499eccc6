package main

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"syscall"

	"github.com/pprun/pprun/scripts/bench/bench"
)

// hosts is how many there are beside head.
const hosts = 4

// What children of ranks are known by.
const (
	child = "7772"
	stray = "7771"
)

// The two kinds of a rank.
var (
	single  = []string{"", "rank"} // this program
	wrapper = []string{"sh", "-c", "setsid sleep " + stray + " & sleep " + child + " & echo ready; wait"}
)

// launcher starts ranks.
type launcher struct {
	name   string
	argv   []string
	daemon func(bench.Process) bool // its process on a host
}

func launchersWith(pprun string) []launcher {
	const list = "node1:2,node2:2,node3:2,node4:2"
	return []launcher{
		{"pprun", []string{pprun, "--host", list}, func(p bench.Process) bool {
			return len(p.Args) > 1 && (p.Args[1] == "agent" || p.Args[1] == "guard")
		}},
		{"mpirun", []string{"mpirun", "--allow-run-as-root", "-H", list, "-n", "8"}, func(p bench.Process) bool { return strings.HasSuffix(p.Args[0], "orted") }},
		{"mpiexec.hydra", []string{"mpiexec.hydra", "-launcher", "ssh", "-hosts", list, "-n", "8"}, func(p bench.Process) bool {
			return strings.HasSuffix(p.Args[0], "hydra_pmi_proxy")
		}},
	}
}

// rank says whether a process is one.
func rank(p bench.Process) bool { return slices.Equal(p.Args, single) || slices.Equal(p.Args, wrapper) }

// fault is one way to harm a job.
type fault struct {
	id, name string
	ranks    []string // single or wrapper
	inject   func(lab *bench.Lab, l launcher) error
	restore  func(lab *bench.Lab) error // nil: there is nothing to restore
	dark     string                     // the host that is off after it
}

var faults = []fault{
	{id: "F1", name: "a rank exits with 3", ranks: single, inject: func(lab *bench.Lab, l launcher) error { return send(lab, syscall.SIGUSR1, "node3", rank) }},
	{id: "F2", name: "kill -9 of a rank", ranks: single, inject: killRank},
	{id: "F2", name: "the same of a wrapper with children", ranks: wrapper, inject: killRank},
	{id: "F5", name: "a host loses its power", ranks: single, dark: "node2",
		inject:  func(lab *bench.Lab, l launcher) error { return lab.Do("crash", "node2") },
		restore: func(lab *bench.Lab) error { return lab.Do("boot", "node2") }},
	{id: "F6", name: "a host loses its network", ranks: single,
		inject:  func(lab *bench.Lab, l launcher) error { return lab.Do("drop", "node2", "both") },
		restore: func(lab *bench.Lab) error { return lab.Do("undrop", "node2") }},
	{id: "F10", name: "kill -9 of the launcher", ranks: single, inject: killLauncher},
	{id: "F10", name: "the same, wrappers with children", ranks: wrapper, inject: killLauncher},
	{id: "F12", name: "kill -9 of the launcher's process on a host", ranks: single, inject: killDaemon},
	{id: "F12", name: "the same, wrappers with children", ranks: wrapper, inject: killDaemon},
}

func killRank(lab *bench.Lab, _ launcher) error {
	return send(lab, syscall.SIGKILL, "node3", rank)
}

func killLauncher(lab *bench.Lab, l launcher) error {
	return send(lab, syscall.SIGKILL, "head", func(p bench.Process) bool { return slices.Equal(p.Args[:min(2, len(p.Args))], l.argv[:2]) })
}

func killDaemon(lab *bench.Lab, l launcher) error {
	return send(lab, syscall.SIGKILL, "node3", func(p bench.Process) bool { return l.daemon(p) && !bytes.Contains(p.Env, []byte("PPRUN_GUARDED=")) })
}

// send signals one process of a host.
func send(lab *bench.Lab, s syscall.Signal, host string, is func(bench.Process) bool) error {
	for _, p := range lab.Processes() {
		if p.Host == host && is(p) {
			return syscall.Kill(p.PID, s)
		}
	}
	return errors.New("no such process on " + host)
}
