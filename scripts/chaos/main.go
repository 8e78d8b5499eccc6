// Command chaos breaks jobs, and looks for what they leave.
//
//	go run ./scripts/chaos -seed 1 -rounds 100 -labs 2 [-heartbeat 3s]
//	go run ./scripts/chaos -seed 1 -round 17 [-heartbeat 3s]     one round again
//
// Each round starts a job in a lab of real sshd hosts (scripts/lab) and, at a random moment of its life, kills or stops a
// random process of it, or cuts the network or the power of that process's host. Then the job must come to an end, and
// within 20 seconds (or 5 after the end of pprun, if that is later) nothing of it may be left on any host: no process, no
// socket, no file but the cache. pprun itself has to end with a status that fits and to say why in one line, and tasks that
// were redone have one result each.
//
// What is drawn depends on the seed and the number of the round alone. Races are not: a round that failed may need to be
// played several times until it fails again; what is told of it is therefore all that was to be seen: what happened when,
// and what the processes waited for that should have ended. It needs root.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "ring" {
		ring()
		return
	}
	var c Config
	flag.Uint64Var(&c.Seed, "seed", uint64(time.Now().UnixNano()), "what the rounds are drawn from")
	flag.IntVar(&c.Rounds, "rounds", 40, "how many rounds")
	flag.IntVar(&c.Labs, "labs", 2, "how many labs play at the same time")
	flag.IntVar(&c.Round, "round", 0, "play this round only")
	flag.DurationVar(&c.Heartbeat, "heartbeat", 0, "pprun's --heartbeat-timeout (default: pprun's own)")
	flag.BoolVar(&c.Verbose, "v", false, "tell of every round, not only of those that failed")
	flag.Parse()
	t := &trouble{}
	var failed int
	t.watch(func() { failed = Run(t, c, os.Stdout) })
	if t.skipped != "" {
		fmt.Fprintln(os.Stderr, "chaos:", t.skipped)
	}
	for _, e := range t.errors {
		fmt.Fprintln(os.Stderr, "chaos:", e)
	}
	if failed > 0 || t.skipped != "" || len(t.errors) > 0 {
		os.Exit(1)
	}
}
