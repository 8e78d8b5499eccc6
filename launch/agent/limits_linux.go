package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// limitProcesses finds the least of the limits of processes: the user's, of the control groups, of the kernel.
func (l *Limits) limitProcesses() {
	least := func(n int64, by string) {
		if n = max(n, 1); l.Processes == 0 || n < int64(l.Processes) {
			l.Processes, l.By = int(n), by
		}
	}
	if user := rlimit(unix.RLIMIT_NPROC); os.Geteuid() != 0 && user.Cur < 1<<31 { // root has none, setrlimit(2)
		least(int64(user.Cur), "ulimit -u")
	}
	there := threads()
	for _, name := range []string{"kernel/pid_max", "kernel/threads-max"} {
		if n, ok := readNumber("/proc/sys/" + name); ok {
			least(n-there, strings.ReplaceAll(name, "/", "."))
		}
	}
	v1, v2 := groups("pids")
	for _, group := range append(v1, v2...) {
		for dir := range upward(group) {
			if n, ok := readNumber(filepath.Join(dir, "pids.max")); ok {
				used, _ := readNumber(filepath.Join(dir, "pids.current"))
				least(n-used, filepath.Join(dir, "pids.max"))
			}
		}
	}
}

// threads counts those of the whole machine, or of what this process sees of it.
func threads() (n int64) {
	b, _ := os.ReadFile("/proc/loadavg") // proc(5): the fourth field is running/all
	var f string
	fmt.Sscan(string(b), &f, &f, &f, &f)
	_, all, _ := strings.Cut(f, "/")
	n, _ = strconv.ParseInt(all, 10, 64)
	return n
}

// readNumber reads a file that is a number; "max" and the like are none.
func readNumber(path string) (int64, bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil
}
