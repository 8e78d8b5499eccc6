package main

import (
	"cmp"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/pprun/pprun/comm/place"
	"github.com/pprun/pprun/launch/agent"
	"github.com/spf13/pflag"
)

const usage = `Usage: pprun [flags] program [arguments]

  pprun -n 4 hostname                      four processes on this machine
  pprun ./examples/primes                  build a Go package, run it on every CPU
  pprun --hosts hosts.txt ./prog -v in.txt run a program on every machine of a file

All flags: pprun --help
`

const help = `pprun runs one program as ranked processes on many machines, or on this one.

  pprun -n 8 --host node1:4,node2:4 ./prog arguments
  pprun ./examples/primes

The program is an executable, a script, a Go package directory or a .go file, which
is built and copied to the nodes; a bare name is looked up on each node's PATH.

How many, where
  -n, --np N             number of ranks (default: one for each slot)
  -f, --hosts FILE       hosts file: a host in each line, as node1, node[2-5]:4, node6 slots=8
                         (also --hostfile, --machinefile); - is standard input
  -H, --host LIST        hosts and slots: a:4,b,node[01-04]:2; without --hosts and --host:
                         those of the Slurm, PBS, Grid Engine or LSF job, else this machine
      --servers LIST     machines on which ppserver runs, and this one: a,b:7070,c*4 (host, port,
                         ranks; default: PPRUN_SERVERS); see ppserver --help
      --discover         find servers that announce themselves (ppserver --announce)
      --local N          ranks on this machine beside those; 0: none that runs tasks
      --min-servers K    go on if only K of the servers answer
  -N, --ppn N            ranks on each node
      --map ORDER        block (default): fill node after node; cyclic: deal out in turn
  -c, --cpus N           slots of each rank (default: its share of the node's CPUs, or
                         the CPUs of a Slurm task)
      --no-oversubscribe refuse more ranks than slots
      --dry-run[=json]   print where each rank would run

What the ranks get
  -x NAME[=VALUE]        pass on a variable, or set it; PREFIX* passes on many
      --env-none         pass on only what -x names
      --wdir DIR         working directory (default: this one, where it exists, else an empty
                         one, which is removed at the end with all that ranks write there)
      --stage FILE       copy a file into a private working directory (repeatable)
      --no-stage         copy nothing: the program is on the nodes
      --bin OS/ARCH=FILE program for nodes of another platform, as linux/arm64=./prog-arm64
                         (repeatable; what pprun builds needs none)
      --stdin RANK       who gets standard input: a rank (default 0), all, none

Output
  -l                     put [rank] before each line
      --label WHAT       rank, host or none
  -o, --output PATTERN   write to files instead: %r is the rank, %h the host
      --report FILE      at the end write how every process ended, as JSON (go doc launch.Report)

Time and trouble
      --on-fail WHAT     when a rank fails: abort ends the others; wait lets them end by
                         themselves; continue does, and starts lost ranks again that serve
                         tasks (default: abort, but continue for ranks that serve tasks)
      --respawn N        how often a lost rank that serves tasks is started again (default 3)
      --rejoin           use a machine that was lost again when it comes back, for such ranks
      --timeout D        end the job after this time (30s, 5m): exit status 124
      --stacks           at the timeout let ranks print what they do first, as on SIGQUIT
      --start-timeout D  give up when the start makes no progress (default 1m)
      --grace D          time between TERM and KILL (default 5s)
      --heartbeat-timeout D  a machine or rank is lost when nothing is heard of it for D
                         (1s to 10m, default 15s)
      --accept-new       add unknown ssh host keys to known_hosts, and keys of servers
  -F, --ssh-config FILE  ssh configuration file
      --ssh CMD          reach hosts by CMD HOST COMMAND, such as 'ssh -K'
  -v, -q                 say more, say less
      --version, --help

SIGQUIT (Ctrl-\) asks: during the start pprun says what it waits for, then ranks in Init
or Main of package comm print what they do and wait for, and go on; other programs get it.

Exit status: that of the first rank that failed and was not replaced, 128+signal,
64 usage, 124 timeout, 125 pprun, ssh or a node failed, 126 not executable, 127 not found.
`

// shortest are flags that people know by their letter, as --help does.
var shortest = []string{"np", "export", "label-rank"}

// spelt is how people write a flag.
func spelt(f *pflag.Flag) string {
	if slices.Contains(shortest, f.Name) {
		return "-" + f.Shorthand
	}
	return "--" + f.Name
}

// nearest returns the flag whose name is at most two letters away from name.
func nearest(f *pflag.FlagSet, name string) string {
	best, near := "", 3
	f.VisitAll(func(flag *pflag.Flag) {
		d := distance(name, flag.Name)
		if d < near && d < len(name) {
			best, near = flag.Name, d
		}
	})
	return best
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := diagonal
			if a[i] != b[j] {
				d++
			}
			diagonal = row[j+1]
			row[j+1] = min(d, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// version is what --version prints.
func version() string {
	var b strings.Builder
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	set := map[string]string{}
	for _, s := range info.Settings {
		set[s.Key] = s.Value
	}
	fmt.Fprintf(&b, "pprun %s (%s)\n", cmp.Or(info.Main.Version, "(devel)"), cmp.Or(info.Main.Path, "github.com/pprun/pprun"))
	fmt.Fprintf(&b, "go %s %s/%s\n", strings.TrimPrefix(info.GoVersion, "go"), set["GOOS"], set["GOARCH"])
	if r := set["vcs.revision"]; r != "" {
		if set["vcs.modified"] == "true" {
			r += " (modified)"
		}
		fmt.Fprintf(&b, "revision %s %s\n", r, set["vcs.time"])
	}
	fmt.Fprintf(&b, "protocols: launcher-agent %d, rank-agent %d\n", agent.Version, place.Version)
	return b.String()
}
