package agent

import "os"

// EnvMode has an executable that links this package be something else than its own program: agent or guard.
const EnvMode = "PPRUN_MODE"

// An executable that launches itself is the agent on each node, too, as pprun is. It becomes that before main and before
// the packages of the program are initialised, unless they import nothing of ours, and before those that only a launcher
// needs: package ssh takes its time.
func init() {
	mode := os.Getenv(EnvMode)
	if mode != "agent" && mode != "guard" {
		return
	}
	os.Unsetenv(EnvMode) // it is not for those that the agent starts
	os.Exit(Main(os.Args[1:]))
}
