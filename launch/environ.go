package launch

import (
	"os"
	"slices"
	"strings"

	"github.com/pprun/pprun/launch/agent"
)

// environment is what a rank's environment gets from here: everything but what is the node's own ([agent.NodeKeeps])
// and pprun's, or with none nothing, and then what extra names: NAME and PREFIX* with the values here, NAME=value. An
// extra NAME that is not set here is missing.
func environment(extra []string, none bool) (env, missing []string) {
	set := map[string]string{}
	own := os.Environ()
	for _, kv := range own {
		name, value, ok := strings.Cut(kv, "=")
		if ok && name != "" && !none && !agent.NodeKeeps(name) && !strings.HasPrefix(name, "PPRUN_") {
			set[name] = value
		}
	}
	for _, x := range extra {
		name, value, given := strings.Cut(x, "=")
		prefix, many := strings.CutSuffix(name, "*")
		switch {
		case given:
			set[name] = value
		case many:
			for _, kv := range own {
				if name, value, _ := strings.Cut(kv, "="); strings.HasPrefix(name, prefix) {
					set[name] = value
				}
			}
		default:
			if value, ok := os.LookupEnv(name); ok {
				set[name] = value
			} else {
				missing = append(missing, name)
			}
		}
	}
	for name, value := range set {
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	return env, missing
}

// extraValue is what extra gives a variable of the node's own; empty: it leaves it alone.
func extraValue(extra []string, name string) string {
	env, _ := environment(extra, true)
	for _, kv := range env {
		if value, ok := strings.CutPrefix(kv, name+"="); ok {
			return value
		}
	}
	return ""
}
