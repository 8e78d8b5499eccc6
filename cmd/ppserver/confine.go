package main

import (
	"fmt"
	"os"
	"syscall"

	"github.com/pprun/pprun/launch/agent"
)

// beAgent is this executable as the agent of one client.
func beAgent(args []string) int {
	if args[0] == "agent" {
		if err := confine(); err != nil {
			fmt.Fprintf(os.Stderr, "ppserver: agent: %v\n", err)
			return 125
		}
	}
	return agent.Main(args)
}

// noCore is a part of confine.
func noCore() error {
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("no core dumps: %w", err)
	}
	return nil
}
