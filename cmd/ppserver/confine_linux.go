package main

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
)

// confine takes from this process, and from all that it will start, what nobody's program needs: to gain privileges by
// executing a file, and to dump core. The first is a property of a thread, which only executing this program once more
// makes one of all.
func confine() error {
	const setNoNewPrivs, getNoNewPrivs = 38, 39 // PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS
	if set, _, _ := syscall.RawSyscall6(syscall.SYS_PRCTL, getNoNewPrivs, 0, 0, 0, 0, 0); set == 1 {
		return nil
	}
	if err := noCore(); err != nil {
		return err
	}
	runtime.LockOSThread()
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, setNoNewPrivs, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("no_new_privs: %w", errno)
	}
	return syscall.Exec(ownExecutable, os.Args, os.Environ())
}
