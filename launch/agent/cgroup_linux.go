package agent

import (
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const cgroupRoot = "/sys/fs/cgroup"

// groups are the directories of this process's control groups that may have to do with a controller, of version 1 and 2.
func groups(controller string) (v1, v2 []string) {
	all, _ := os.ReadFile("/proc/self/cgroup") // cgroups(7): number:controllers:path
	for line := range strings.Lines(string(all)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		switch {
		case len(f) < 3:
		case slices.Contains(strings.Split(f[1], ","), controller):
			v1 = append(v1, filepath.Join(cgroupRoot, controller, f[2]))
		case f[1] == "":
			v2 = append(v2, filepath.Join(cgroupRoot, f[2]))
		}
	}
	return v1, v2
}

// upward yields a group and those above it, which limit it too.
func upward(group string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for ; len(group) >= len(cgroupRoot) && yield(group); group = filepath.Dir(group) {
		}
	}
}
