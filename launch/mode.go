package launch

import (
	"os"

	"github.com/pprun/pprun/launch/agent"
)

// envMode has an executable that links this package be something else than its own program: agent or guard.
const envMode = "PPRUN_MODE"

// An executable that launches itself is the agent on each node, too, as pprun is. It becomes that before main and before
// the packages of the program are initialised, unless they import nothing of ours.
func init() {
	mode := os.Getenv(envMode)
	if mode != "agent" && mode != "guard" {
		return
	}
	os.Unsetenv(envMode) // it is not for those that the agent starts
	os.Exit(agent.Main(os.Args[1:]))
}
