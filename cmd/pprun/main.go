// Command pprun runs one program as ranked processes on every core of every machine:
//
//	pprun -n 8 --hosts hosts.txt ./prog
//
// See `pprun --help`, and package launch for what happens then.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/pprun/pprun/launch"
)

func main() {
	os.Exit(run(os.Args[1:]))
}

// run is pprun from arguments to exit status.
func run(args []string) int {
	o, err := parse(args)
	switch {
	case err != nil:
		complain(err)
		return launch.StatusUsage
	case o.help:
		return printed(fmt.Print(help))
	case o.version:
		return printed(fmt.Print(version()))
	case len(args) == 0:
		fmt.Fprint(os.Stderr, usage)
		return launch.StatusUsage
	case o.config.Target == "":
		complain(errors.New("the program is missing: see pprun --help"))
		return launch.StatusUsage
	}
	if err := noCommand(o.config.Target); err != nil {
		complain(err)
		return launch.StatusUsage
	}
	if severalPrograms(o.config.Args) && !o.config.Quiet {
		complain(errors.New(`warning: ": -n" is for the program: pprun starts one program, not several`))
	}
	if err := severalTimes(os.Getenv); err != nil && !o.config.Quiet {
		complain(err)
	}
	if err := o.findHosts(); err != nil {
		complain(err)
		return launch.StatusUsage
	}
	if o.dryRun != "" {
		return dryRun(o)
	}
	signal.Ignore(syscall.SIGTTIN, syscall.SIGTTOU) // a job in the background goes on, whatever the terminal wants (stty tostop)
	return launch.Run(context.Background(), o.config)
}

// dryRun prints the placement instead of running anything.
func dryRun(o *options) int {
	p, status, err := launch.Plan(context.Background(), o.config)
	if err != nil {
		complain(err)
		return max(status, launch.StatusUsage)
	}
	if o.dryRun == "json" {
		err = p.WriteJSON(os.Stdout)
	} else {
		err = p.WriteTable(os.Stdout)
	}
	return printed(0, err)
}

// printed is the status of a command that only prints.
func printed(_ int, err error) int {
	if err != nil {
		return launch.StatusFailed
	}
	return 0
}

// complain prints every line of an error with pprun's prefix.
func complain(err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintln(os.Stderr, "pprun: "+line)
	}
}
