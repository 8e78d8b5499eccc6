package main

import (
	"cmp"
	"fmt"
	"runtime"
	"strings"

	"github.com/pprun/pprun/launch/agent"
	"github.com/pprun/pprun/launch/door"
)

// version is what --version prints.
func version() string {
	return fmt.Sprintf("ppserver %s (github.com/pprun/pprun)\ngo %s %s/%s\nprotocols: launcher-agent %d, login %d\n",
		cmp.Or(agent.Release(), "(devel)"), strings.TrimPrefix(runtime.Version(), "go"), runtime.GOOS, runtime.GOARCH, agent.Version, door.Version)
}
