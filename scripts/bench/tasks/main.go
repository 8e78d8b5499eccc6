// Command tasks compares what calls of a function that does nothing cost in a job of pprun and in its peers: Parallel
// Python, mpi4py.futures, Dask distributed, Python's multiprocessing, Go's net/rpc. All have two workers on this machine
// and take turns.
//
//	go run ./scripts/bench/tasks [-rounds 5] [-ppft DIR] [-tls=false] [-ways single,windowed]
//
// Peers that are not there are left out, and the output says so. Debian has python3-mpi4py and python3-distributed;
// -ppft names a checkout of github.com/uqfoundation/ppft. The ranks of the row with TLS are on hosts of scripts/lab, which
// needs root, as does
//
//	go run ./scripts/bench/tasks -servers -ways single,gather -ppft DIR
//
// which compares workers on other machines: those of two ppservers with those of two servers of Parallel Python. CPU is
// the processor time of all processes of a peer together.
//
//	go run ./cmd/pprun -n 3 ./scripts/bench/tasks
//
// measures pprun alone, and with -n 4 also what a task has to wait while other ranks run tasks of 10 ms. The argument long
// has it run ten million tasks to show the memory of the hub, queue a million, and tell how busy tasks of 10 ms keep the
// slots.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/pprun/pprun/scripts/bench/bench"
)

var (
	rounds  = flag.Int("rounds", 5, "rounds of each comparison")
	ppft    = flag.String("ppft", "", "directory of a checkout of Parallel Python")
	python  = flag.String("python", "/usr/bin/python3", "interpreter of the peers in Python")
	tls     = flag.Bool("tls", true, "also measure pprun over TLS, on hosts of scripts/lab")
	servers = flag.Bool("servers", false, "measure pprun on two ppservers, beside Parallel Python on two of its own, on hosts of scripts/lab, and nothing else")
	only    = flag.String("ways", strings.Join([]string{single, windowed, gathered, chunked}, ","), "ways of calling to compare")
)

const (
	few  = 5_000   // calls of ours one after the other
	many = 500_000 // calls of ours at once
)

func main() {
	flag.Parse()
	var err error
	switch role := flag.Arg(0); role {
	case "ours":
		serveTasks(answerTasks)
	case "long":
		serveTasks(long)
	case "net/rpc":
		err = netRPC()
	case "ping-pong":
		err = pingPong()
	case "serve-net/rpc":
		err = serve(serveRPC)
	case "serve-echo":
		err = serve(serveEcho)
	default:
		if os.Getenv("PPRUN_RANK") != "" {
			serveTasks(alone)
		}
		err = bench.WithPprun(compare)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func compare(dir, pprun string) error {
	peers, down, err := all(dir, pprun)
	if err != nil {
		return err
	}
	defer down()
	peers = started(peers)
	defer func() {
		for _, p := range peers {
			p.stop()
		}
	}()
	for name := range strings.SplitSeq(*only, ",") {
		fmt.Printf("\n%s\n", name)
		bench.Print(os.Stdout, "calls/s", bench.Compare(*rounds, entries(peers, name)))
	}
	fmt.Println()
	printMedians(peers)
	return nil
}

// all are pprun and its peers, and what takes down what they need.
func all(dir, pprun string) (peers []*peer, down func(), err error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	if *servers {
		return onServers(dir, pprun, exe)
	}
	peers = []*peer{{name: "pprun", few: few, many: many, chunks: 2 * many, command: []string{pprun, "-n", "3", exe, "ours"}}}
	down = func() {}
	if *tls {
		var h *hosts
		if h, err = upHosts(dir, pprun, exe); err != nil {
			return nil, nil, fmt.Errorf("raise hosts (or leave them out: -tls=false): %w", err)
		}
		peers, down = append(peers, h.pprun("pprun, TLS", "--host", "node1:1,node2:1,node3:1")), h.down
	}
	peers = append(peers,
		&peer{name: "TCP ping-pong", few: few, command: []string{exe, "ping-pong"}},
		&peer{name: "net/rpc", few: few, many: many / 10, command: []string{exe, "net/rpc"}})
	slow, err := pythons(dir)
	return append(peers, slow...), down, err
}

// started leaves out the peers that are not there.
func started(peers []*peer) []*peer {
	return slices.DeleteFunc(peers, func(p *peer) bool {
		err := p.available()
		if err == nil {
			err = p.start()
		}
		if err != nil {
			fmt.Printf("%s is left out: %v\n", p.name, err)
		}
		return err != nil
	})
}

func entries(peers []*peer, name string) (list []bench.Entry) {
	for _, p := range peers {
		if n := p.calls(name); n > 0 {
			list = append(list, bench.Entry{Name: p.name, Shown: fmt.Sprint(n, " calls"), Run: func() (float64, error) { return p.measure(name) }})
		}
	}
	return list
}

// printMedians writes one table of all.
func printMedians(peers []*peer) {
	tw := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "medians\tround trip us\tp99 us\tsingle/s\tCPU us\twindowed/s\tCPU us\tgather/s\tCPU us\tchunked/s\tCPU us\t")
	for _, p := range peers {
		fmt.Fprintf(tw, "%s\t%s\t%s", p.name,
			p.middle(single, func(s sample) float64 { return 1e6 * s.median }),
			p.middle(single, func(s sample) float64 { return 1e6 * s.p99 }))
		for _, name := range []string{single, windowed, gathered, chunked} {
			fmt.Fprintf(tw, "\t%s\t%s",
				p.middle(name, func(s sample) float64 { return s.rate }),
				p.middle(name, func(s sample) float64 { return 1e6 * s.cpu }))
		}
		fmt.Fprintln(tw, "\t")
	}
	tw.Flush()
}

// middle is the median of one figure of the rounds of a way.
func (p *peer) middle(name string, figure func(sample) float64) string {
	var row bench.Row
	for _, s := range p.samples[name] {
		row.Values = append(row.Values, figure(s))
	}
	if len(row.Values) == 0 {
		return "-"
	}
	return fmt.Sprintf("%.4g", row.Median())
}
