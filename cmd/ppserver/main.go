// Command ppserver waits on a machine for programs that use its cores:
//
//	node-1> ppserver
//	here>   pprun --servers node-1,node-2 ./prog
//
// Each client that logs in (package launch/door) gets an agent of its own, a process of this executable, and speaks with
// it as pprun speaks with the agents that it starts by ssh. Nothing is left of a client that has gone.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// Exit statuses.
const (
	statusFailed = 1
	statusUsage  = 64
)

func main() {
	// ppserver is also the process of each client: nothing else may run there first.
	if len(os.Args) > 1 && (os.Args[1] == "agent" || os.Args[1] == "guard") {
		os.Exit(beAgent(os.Args[1:]))
	}
	os.Exit(run(os.Args[1:]))
}

// run is ppserver from arguments to exit status.
func run(args []string) int {
	o, err := parse(args)
	switch {
	case err != nil:
	case o.help || o.command == "help":
		fmt.Print(help)
	case o.version || o.command == "version":
		fmt.Print(version())
	case o.command == "keygen":
		err = keygen(o)
	case o.command == "authorize":
		err = authorize(o)
	case o.command == "status":
		err = status(o)
	default:
		err = serve(o)
	}
	if err == nil {
		return 0
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintln(os.Stderr, "ppserver: "+line)
	}
	if errors.As(err, new(usageError)) {
		return statusUsage
	}
	return statusFailed
}

// usageError is a command line that cannot be meant.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }
