package agent

import (
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// session makes a process the leader of its own session, to be killed when the thread that starts it ends.
func session() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
}

// pipe returns the two ends of a pipe that children do not inherit.
func pipe() (r, w int, err error) {
	var p [2]int
	err = syscall.Pipe2(p[:], syscall.O_CLOEXEC)
	return p[0], p[1], err
}

// cloexecPair returns two connected sockets that children do not inherit.
func cloexecPair() ([2]int, error) {
	return unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
}

// adoptOrphans makes the agent the parent of every descendant whose parent has ended.
func adoptOrphans() { unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// hideMemory keeps the agent's key out of cores and from debuggers. Unlike RLIMIT_CORE the ranks do not inherit it: whether
// their user's programs leave cores is for that user's ulimit -c to say.
func hideMemory() { unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }

const selfPath = "/proc/self/exe"

// openSelf opens the running executable, even if its file has been replaced.
func openSelf() (*os.File, error) { return os.Open(selfPath) }

// descriptorPath is a path at which a child of this process finds an open file, whatever has become of its name.
func descriptorPath(f *os.File) string { return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())) }

// bootID tells two names of one machine from two machines: the kernel's boot, and the network namespace, because
// containers share a kernel and are nodes of their own.
func bootID() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	ns, _ := os.Readlink("/proc/self/ns/net")
	if len(id) > 0 && id[len(id)-1] == '\n' {
		id = id[:len(id)-1]
	}
	return string(id) + " " + ns
}

// fionread is the ioctl that tells how much a pipe holds.
const fionread = unix.TIOCINQ

// enlarge gives a pipe room for what a fast writer brings while nobody reads. Where the user has too many large ones
// already it stays as it is.
func enlarge(pipe syscall.RawConn) {
	pipe.Control(func(fd uintptr) { unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeLen) })
}
