//go:build linux

package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// An agent that may open no further file, or one, which is too few to find processes, still ends those that it knows, whose
// files it has then to find the others.
func TestKillWithoutFiles(t *testing.T) {
	for files := range uint64(2) {
		l := launchAgent(t)
		l.hello(time.Second)
		l.start(sh(3, `setsid sleep 1000 >/dev/null 2>&1 & echo up; wait`))
		l.wait("ranks to be up", func() bool { return len(l.out) == 3 })
		until(t, "the guard", l.guarded)
		leave := l.useUpFiles(files)
		l.sendID(KindKill, 0)
		for i, x := range l.exited(3) {
			if x.Signal != int(syscall.SIGKILL) || !x.Killed {
				t.Errorf("%d files: rank %d: %+v", files, i, x)
			}
		}
		leave()
		l.bye()
	}
}

// useUpFiles has the agent open all files that it may but so many, its ranks' among them: the last for guests that do not say
// what they want, until they leave.
func (l *launcher) useUpFiles(but uint64) (leave func()) {
	l.t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", l.cmd.Process.Pid)
	open := func() (n, highest uint64) {
		names, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrPermission) {
			l.t.Skip("needs root: an agent lets nobody else see its files")
		}
		if err != nil {
			l.t.Fatal(err)
		}
		for _, name := range names {
			fd, _ := strconv.ParseUint(name.Name(), 10, 64)
			highest = max(highest, fd)
		}
		return uint64(len(names)), highest
	}
	_, highest := open()
	limit := highest + 2
	if err := unix.Prlimit(l.cmd.Process.Pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: limit}, nil); err != nil {
		l.t.Fatal(err)
	}
	st, err := Decode[Started](l.values[KindStarted])
	if err != nil {
		l.t.Fatal(err)
	}
	var guests []net.Conn
	for n, _ := open(); n < limit-but; n, _ = open() {
		guest, err := net.Dial("unix", st.Socket)
		if err != nil {
			l.t.Fatal(err)
		}
		guests = append(guests, guest)
		until(l.t, "a further file", func() bool { m, _ := open(); return m > n })
	}
	return func() {
		for _, guest := range guests {
			guest.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := guest.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				l.t.Errorf("a guest had to leave before: %v", err)
			}
			guest.Close()
		}
	}
}

// limitFiles leaves the agent so many further files, and returns what it might have had before.
func (l *launcher) limitFiles(files uint64) (before unix.Rlimit) {
	l.t.Helper()
	pid, limit := l.cmd.Process.Pid, uint64(0)
	for ; ; limit++ {
		if _, err := os.Lstat(fmt.Sprintf("/proc/%d/fd/%d", pid, limit)); err == nil {
			continue
		}
		if files == 0 {
			break
		}
		files--
	}
	err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &before)
	if err == nil {
		err = unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: before.Max}, nil)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	return before
}
