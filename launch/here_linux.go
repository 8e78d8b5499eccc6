package launch

import "golang.org/x/sys/unix"

// ownExecutable is a path to this very program, even if its file has been replaced or removed since.
func ownExecutable() (string, error) { return "/proc/self/exe", nil }

func cloexecPair() ([2]int, error) {
	return unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
}
