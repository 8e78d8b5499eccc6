package main

import (
	"fmt"
	"os"
	"strconv"
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

// keepDescriptors has clients' programs inherit none of the files that whoever started this server had open.
func keepDescriptors() {
	all, _ := os.ReadDir("/dev/fd")
	for _, f := range all {
		if fd, err := strconv.Atoi(f.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
}

// noCore is a part of confine.
func noCore() error {
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("no core dumps: %w", err)
	}
	return nil
}
